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

// replacedHistory is a Global Controller whose history was replaced after the first page.
type replacedHistory struct {
	pb.UnimplementedFleetServiceServer
}

func (*replacedHistory) ListTransitions(_ context.Context, in *pb.ListTransitionsRequest) (*pb.ListTransitionsResponse, error) {
	switch in.GetCursor() {
	case "8-of-old":
		return nil, status.Error(codes.OutOfRange, "The history does not continue from this cursor")
	case "5-of-new":
		return &pb.ListTransitionsResponse{NextCursor: "5-of-new"}, nil
	}
	return &pb.ListTransitionsResponse{Transitions: []*pb.Transition{{Id: 5, ControllerId: "new"}}, NextCursor: "5-of-new"}, nil
}

func TestHistoryFollow_ReplacedHistory(t *testing.T) {
	f := newFixture(t, &replacedHistory{})
	page := historyPage{transitions: []*pb.Transition{{Id: 8, ControllerId: "old"}}, nextCursor: "8-of-old"}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.conn.cli.followHistory(ctx, f.conn, historyOptions{limit: 50}, page) }()

	f.waitUntil("the new history is printed", func() bool { return strings.Contains(f.out.String(), "new") })
	cancel()
	if err := <-ended; !errors.Is(err, ErrInterrupted) {
		t.Errorf("followHistory() = %v, want ErrInterrupted", err)
	}

	if errs := f.errs.String(); strings.Count(errs, "\n") != 1 || !strings.Contains(errs, "the history was replaced") {
		t.Errorf("standard error = %q, want one line about the replaced history", errs)
	}
	if out := f.out.String(); strings.Count(out, "new") != 1 || strings.Count(out, "old") != 1 {
		t.Errorf("standard output = %q, want each transition once", out)
	}
}
