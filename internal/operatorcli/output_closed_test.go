package operatorcli

import (
	"bufio"
	"context"
	"errors"
	"os"
	"testing"
	"time"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// TestWhileRead_EndsWhenTheReaderIsGone has a watch whose reader leaves after the first line, as head -1 does, while
// nothing new comes.
func TestWhileRead_EndsWhenTheReaderIsGone(t *testing.T) {
	t.Parallel()
	gc := &fakeGC{scripts: []script{{send: []*pb.WatchResponse{snapshot(1, "start", controller("mc", pb.Health_HEALTH_HEALTHY))}}}}
	b := newBench(t, gc)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = writer.Close() })
	tool := b.session.tool
	tool.Out, tool.ReaderGone = writer, readerGoneFrom(writer)
	ended := make(chan error, 1)
	go func() {
		ended <- tool.runUntilReaderGone(context.Background(), func(ctx context.Context) error {
			return tool.watchFleet(ctx, b.session, listOptions{sort: "id"})
		})
	}()
	if line, err := bufio.NewReader(reader).ReadString('\n'); err != nil {
		t.Fatalf("the first line = %q, %v", line, err)
	}
	select {
	case err := <-ended:
		t.Fatalf("it ended while it was read: %v", err)
	case <-time.After(2 * readerCheckInterval):
	}
	_ = reader.Close()
	select {
	case err := <-ended:
		if !errors.Is(err, ErrReaderGone) {
			t.Errorf("it ended with %v, want ErrReaderGone", err)
		}
	case <-time.After(patience):
		t.Fatal("it goes on without a reader")
	}
}

func TestWhileRead_KeepsErrorsOfTheWork(t *testing.T) {
	t.Parallel()
	tool := &tool{Process: Process{ReaderGone: func() bool { return false }}}
	if err := tool.runUntilReaderGone(t.Context(), func(context.Context) error { return ErrInterrupted }); !errors.Is(err, ErrInterrupted) {
		t.Errorf("whileRead() = %v, want the error of the work", err)
	}
	file, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if readerGoneFrom(file)() {
		t.Error("a file has no reader that could be gone")
	}
	if readerGoneFrom(b64{}) != nil {
		t.Error("what is no file cannot be looked at")
	}
}

type b64 struct{}
