package operatorcli

import (
	"context"
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// replacedHistory is a Global Controller whose history is another one after the first page.
type replacedHistory struct {
	pb.UnimplementedFleetServiceServer
}

func (*replacedHistory) ListTransitions(_ context.Context, in *pb.ListTransitionsRequest) (*pb.ListTransitionsResponse, error) {
	switch in.GetCursor() {
	case "8-of-before":
		return nil, status.Error(codes.OutOfRange, "The history does not go on from there")
	case "5-of-now":
		return &pb.ListTransitionsResponse{NextCursor: "5-of-now"}, nil
	}
	return &pb.ListTransitionsResponse{Transitions: []*pb.Transition{{Id: 5, ControllerId: "new"}}, NextCursor: "5-of-now"}, nil
}

func TestHistoryFollow_ReplacedHistory(t *testing.T) {
	b := newBenchWith(t, &replacedHistory{})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- b.session.tool.follow(ctx, b.session, historyOptions{limit: 50}, []*pb.Transition{{Id: 8, ControllerId: "old"}}, "8-of-before")
	}()
	b.until("the new history", func() bool { return strings.Contains(b.out.String(), "new") })
	cancel()
	if err := <-ended; !errors.Is(err, ErrInterrupted) {
		t.Errorf("follow() = %v, want that it was interrupted", err)
	}
	if errs := b.errs.String(); strings.Count(errs, "\n") != 1 || !strings.Contains(errs, "the history was replaced") {
		t.Errorf("said %q, want one line that says so", errs)
	}
	if out := b.out.String(); strings.Count(out, "new") != 1 || strings.Count(out, "old") != 1 {
		t.Errorf("out = %q, want each change once", out)
	}
}
