package grpctransport

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-kit/log"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"darktower.example/global-controller/endpoints"
	pb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
)

var idleStreams = flag.Int("idle-streams", 5, "how many streams are busy once and then idle")

// TestStream_IdleWorkersRetire makes streams use all of their workers once. The measured figures are those of client and server together.
func TestStream_IdleWorkersRetire(t *testing.T) {
	var waiting atomic.Int64
	release := make(chan struct{})
	svc := &streamService{beat: func(context.Context, string) error {
		waiting.Add(1)
		<-release
		return nil
	}}
	w := serve(t, svc, Config{workerIdleTime: 100 * time.Millisecond}, nil, nil)
	before := measure()

	var streams []clientStream
	for range *idleStreams {
		stream := w.open(t.Context(), t)
		for n := range uint64(maxInFlight) {
			sendFast(t, stream, n, fmt.Sprintf("mc-%d", n))
		}
		streams = append(streams, stream)
	}

	// Beyond the spare workers of all streams, heartbeats wait for a busy worker.
	want := int64(min(*idleStreams*maxInFlight, maxSpareWorkers+*idleStreams))
	waitUntil(t, "all workers", func() bool { return waiting.Load() == want })
	busy := measure()

	close(release)
	for _, stream := range streams {
		for range maxInFlight {
			if out, err := stream.Recv(); err != nil || !out.GetAcknowledged() {
				t.Fatalf("response = %v, %v", out, err)
			}
		}
	}

	// Idle streams have a goroutine for the handler, one to read, one to work, and the client's.
	const perStream = 6
	waitUntil(t, "the workers' end", func() bool { return measure().goroutines <= before.goroutines+perStream**idleStreams })
	idle := measure()
	t.Logf("%d streams: busy %v, idle %v", *idleStreams, busy, idle)
	sendFast(t, streams[0], 1, "mc")
	wantAcknowledged(t, streams[0], 1)
}

type measured struct {
	goroutines int
	mebibytes  uint64
}

func measure() measured {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return measured{runtime.NumGoroutine(), (m.HeapInuse + m.StackInuse) >> 20}
}

func waitUntil(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

func TestStream_SpareWorkersAreLimited(t *testing.T) {
	svc := &streamService{beat: func(context.Context, string) error { return nil }}
	var limits streamLimits
	for range maxSpareWorkers {
		if !limits.takeWorker() {
			t.Fatal("takeWorker() = false, want true")
		}
	}

	if limits.takeWorker() {
		t.Error("takeWorker() = true beyond the limit, want false")
	}

	// Such a stream still has its first worker.
	h := &heartbeatServer{
		endpoints:      endpoints.New(svc, endpoints.Deadline(time.Second)),
		cfg:            Config{Logger: log.NewNopLogger()},
		sendTimeout:    defaultSendTimeout,
		workerIdleTime: defaultWorkerIdleTime,
	}

	h.limits.spareWorkers.Store(maxSpareWorkers)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	responses := 0
	stream := &scriptedStream{respond: func(*pb.StreamHeartbeatsResponse) error {
		if responses++; responses == 20 {
			cancel()
		}
		return nil
	}}

	for n := range uint64(20) {
		stream.sent = append(stream.sent, fast(n, fmt.Sprintf("mc-%d", n)))
	}

	if err := stream.playAt(ctx, h); status.Code(err) != codes.Canceled && !errors.Is(err, context.Canceled) || responses != 20 {
		t.Errorf("the stream ended with %v after %d responses, want 20", err, responses)
	}
	if got := h.limits.spareWorkers.Load(); got != maxSpareWorkers {
		t.Errorf("spare workers = %d, want %d", got, maxSpareWorkers)
	}
}

func TestStreamLimits_BySubjectAndConnection(t *testing.T) {
	var limits streamLimits
	open := func(subject, connection string, perSubject int) func() {
		t.Helper()
		release, err := limits.open(subject, connection, perSubject)
		if err != nil {
			t.Fatalf("open(%s, %s) = %v", subject, connection, err)
		}
		return release
	}

	refused := func(subject, connection string, perSubject int, why string) {
		t.Helper()
		_, err := limits.open(subject, connection, perSubject)
		if status.Code(err) != codes.ResourceExhausted || !strings.Contains(status.Convert(err).Message(), why) {
			t.Errorf("open(%s, %s) = %v, want RESOURCE_EXHAUSTED with %q", subject, connection, err, why)
		}
	}

	var releases []func()
	for range maxConnectionStreams {
		releases = append(releases, open("many", "1", 0))
	}
	refused("other", "1", 0, "over this connection, at most 800")

	releases = append(releases, open("a", "2", 2), open("a", "3", 2), open("b", "2", 2))
	refused("a", "4", 2, "of this client, at most 2")

	releases[len(releases)-2]()
	releases = append(releases[:len(releases)-2], releases[len(releases)-1], open("a", "4", 2))

	for _, release := range releases {
		release()
	}
	if len(limits.bySubject) != 0 || len(limits.byConnection) != 0 {
		t.Errorf("left: %v, %v, want nothing", limits.bySubject, limits.byConnection)
	}
}

// TestStream_LimitReached checks that a stream beyond a limit is refused before anything is sent. A stream that ends makes room for
// another.
func TestStream_LimitReached(t *testing.T) {
	svc := &subjectService{streamService{beat: func(context.Context, string) error { return nil }}}
	w := serve(t, svc, Config{StreamsPerSubject: 1}, nil, nil)
	first := w.open(t.Context(), t)

	sendFast(t, first, 1, "mc")
	wantAcknowledged(t, first, 1)

	if _, err := w.open(t.Context(), t).Recv(); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("second stream = %v, want RESOURCE_EXHAUSTED", err)
	}

	_ = first.CloseSend()
	_, _ = first.Recv()
	waitUntil(t, "room", func() bool {
		stream := w.open(t.Context(), t)
		return stream.Send(fast(1, "mc")) == nil && func() bool { _, err := stream.Recv(); return err == nil }()
	})
}

type subjectService struct{ streamService }

func (s *subjectService) StreamHeartbeats(context.Context, service.HeartbeatStream) (service.HeartbeatStream, error) {
	return service.HeartbeatStream{Subject: "shared"}, nil
}
