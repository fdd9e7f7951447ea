package operatorcli

import (
	"bufio"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// TestRunUntilOutputClosed_ReaderCloses closes the output of a watch after its first line, as head -1 does. Nothing new is printed
// after that, so no write can fail.
func TestRunUntilOutputClosed_ReaderCloses(t *testing.T) {
	t.Parallel()
	snapshot := newSnapshot(1, "start", newController("mc", healthy))
	f := newFixture(t, &fakeGlobalController{scripts: []script{{send: []*pb.WatchResponse{snapshot}}}})
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = writer.Close() })
	c := f.conn.cli
	c.Out, c.IsOutputClosed = writer, outputClosedFunc(writer)

	ended := make(chan error, 1)
	go func() {
		ended <- c.runUntilOutputClosed(context.Background(), func(ctx context.Context) error {
			return c.watchFleet(ctx, f.conn, fleetListOptions{sort: "id"})
		})
	}()
	if line, err := bufio.NewReader(reader).ReadString('\n'); err != nil {
		t.Fatalf("the first line = %q, %v", line, err)
	}

	select {
	case err := <-ended:
		t.Fatalf("the command ended while its output was open: %v", err)
	case <-time.After(2 * outputCheckInterval):
	}

	_ = reader.Close()
	select {
	case err := <-ended:
		if !errors.Is(err, ErrOutputClosed) {
			t.Errorf("the command ended with %v, want ErrOutputClosed", err)
		}
	case <-time.After(testTimeout):
		t.Fatal("the command did not end after its output was closed")
	}
}

func TestRunUntilOutputClosed_ReturnsErrorOfWork(t *testing.T) {
	t.Parallel()
	c := &cli{Process: Process{IsOutputClosed: func() bool { return false }}}
	err := c.runUntilOutputClosed(t.Context(), func(context.Context) error { return ErrInterrupted })
	if !errors.Is(err, ErrInterrupted) {
		t.Errorf("runUntilOutputClosed() = %v, want the error of the work", err)
	}
}

func TestOutputClosedFunc_FileStaysOpen(t *testing.T) {
	t.Parallel()
	file, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()

	if outputClosedFunc(file)() {
		t.Error("a file is reported as closed")
	}
	if outputClosedFunc(&strings.Builder{}) != nil {
		t.Error("outputClosedFunc() of no *os.File is not nil")
	}
}
