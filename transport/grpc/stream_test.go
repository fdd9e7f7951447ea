package grpctransport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-kit/kit/endpoint"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"darktower.example/global-controller/endpoints"
	pb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStream_SlowControllerBlocksNoOther(t *testing.T) {
	release := make(chan struct{})
	svc := &streamService{beat: func(_ context.Context, id string) error {
		if id == "slow" {
			<-release
		}
		return nil
	}}

	stream := serve(t, svc, Config{}, nil, nil).open(t.Context(), t)
	const slow, others = 20, 1000
	for n := range uint64(slow) {
		sendFast(t, stream, n, "slow")
	}

	for n := range uint64(others) {
		sendFast(t, stream, slow+n, fmt.Sprintf("mc-%d", n))
		wantAcknowledged(t, stream, slow+n)
	}

	close(release)
	for n := range uint64(slow) {
		wantAcknowledged(t, stream, n) // In the order in which they were sent.
	}

	_ = stream.CloseSend()
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the stream ended with %v, want the end", err)
	}
}

func TestStream_QueuedHeartbeatKeepsCallTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		ctx, disconnect := context.WithCancel(t.Context())
		var calls atomic.Int32
		// The first heartbeat takes 5 s; all others hang.
		svc := &streamService{beat: func(ctx context.Context, _ string) error {
			if calls.Add(1) == 1 {
				time.Sleep(5 * time.Second)
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}}

		var responses []string
		stream := &scriptedStream{respond: func(out *pb.StreamHeartbeatsResponse) error {
			responses = append(responses, fmt.Sprintf("%d: %d %s after %v", out.GetSequence(), out.GetCode(), out.GetMessage(), time.Since(began)))
			if out.GetSequence() == 5 {
				disconnect()
			}
			return nil
		}}

		for n := range uint64(5) {
			stream.sent = append(stream.sent, fast(n+1, "mc"))
		}

		_ = stream.play(ctx, svc, Config{CallTimeout: 8 * time.Second}, 8*time.Second)
		want := []string{"1: 0  after 5s"}
		for n := 2; n <= 5; n++ {
			want = append(want, fmt.Sprintf("%d: 4 Deadline exceeded after 8s", n))
		}

		if !slices.Equal(responses, want) || calls.Load() != 2 {
			t.Errorf("%d calls, responses %q, want 2 calls and %q", calls.Load(), responses, want)
		}
	})
}

func TestStream_ClientReadsNothing(t *testing.T) {
	tests := map[string]struct {
		isShutdown bool
		want       error
		took       time.Duration
	}{
		"by itself":   {false, errNotReading, defaultSendTimeout},
		"at shutdown": {true, errStopping, 500*time.Millisecond + 9*time.Second},
	}

	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				shutdown, beginShutdown := context.WithCancel(t.Context())
				defer beginShutdown()
				if tc.isShutdown {
					time.AfterFunc(500*time.Millisecond, beginShutdown)
				}

				stream := &scriptedStream{}
				stream.respond = func(*pb.StreamHeartbeatsResponse) error {
					<-stream.ctx.Done()
					return stream.ctx.Err()
				}

				for n := range uint64(2000) {
					stream.sent = append(stream.sent, fast(n, "mc"))
				}

				svc := &streamService{beat: func(context.Context, string) error { return nil }}
				err := stream.play(t.Context(), svc, Config{CallTimeout: 8 * time.Second, Shutdown: shutdown}, 8*time.Second)
				if took := time.Since(began); !errors.Is(err, tc.want) || took != tc.took {
					t.Errorf("ended with %v after %v, want %v after %v", err, took, tc.want, tc.took)
				}

				synctest.Wait() // A remaining goroutine would keep the bubble from ending.
				if read := 2000 - len(stream.sent); read > maxInFlight+1 {
					t.Errorf("%d heartbeats were read, want at most one more than there are slots", read)
				}
			})
		})
	}
}

func TestStream_ClientSendsAndNeverReads(t *testing.T) {
	shutdown, beginShutdown := context.WithCancel(t.Context())
	defer beginShutdown()
	blocked := make(chan struct{})
	w := serve(t, &streamService{beat: func(context.Context, string) error { return nil }}, Config{Shutdown: shutdown}, nil,
		func(s grpc.ServerStream) grpc.ServerStream { return &blockingStream{ServerStream: s, blocked: blocked} })
	stream := w.open(t.Context(), t)
	sender := make(chan struct{})
	go func() {
		defer close(sender)
		for n := uint64(0); stream.Send(fast(n, "a.b")) == nil; n++ {
		}
	}()

	<-blocked
	beginShutdown()
	if err := <-w.ended; !errors.Is(err, errStopping) {
		t.Errorf("the handler returned %v, want %v", err, errStopping)
	}

	_ = w.conn.Close()
	<-sender
}

// blockingStream closes blocked when a response has waited for its client for one second.
type blockingStream struct {
	grpc.ServerStream
	blocked chan struct{}
	once    sync.Once
}

func (b *blockingStream) SendMsg(m any) error {
	slow := time.AfterFunc(time.Second, func() { b.once.Do(func() { close(b.blocked) }) })
	defer slow.Stop()
	return b.ServerStream.SendMsg(m)
}

// switchableAuthenticator is an authenticator whose result can be changed.
type switchableAuthenticator struct{ err atomic.Pointer[error] }

func (s *switchableAuthenticator) respond(err error) { s.err.Store(&err) }

func (s *switchableAuthenticator) Authenticate(context.Context, []string) (service.Caller, error) {
	return service.Caller{}, *s.err.Load()
}

func TestStream_EndsWithItsToken(t *testing.T) {
	const queued = 100
	tests := map[string]struct {
		endpoint, authenticator error
		want                    codes.Code // OK if the stream continues.
	}{
		"returned by the endpoint": {service.ErrUnauthenticated, service.ErrUnauthenticated, codes.Unauthenticated},
		"hidden by a rate limit":   {service.ErrRateLimited, service.ErrUnauthenticated, codes.Unauthenticated},
		"hidden by a failure":      {service.ErrUnavailable, service.ErrUnauthenticated, codes.Unauthenticated},
		"another rate limit":       {service.ErrRateLimited, nil, codes.OK},
		"failure of the store":     {service.ErrUnavailable, nil, codes.OK},
		"failure of the keys":      {service.ErrUnavailable, service.ErrUnavailable, codes.OK},
	}

	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			authenticator, handed, hold := &switchableAuthenticator{}, atomic.Int32{}, make(chan struct{})
			authenticator.respond(tc.authenticator)

			middleware := func(op endpoints.Operation) endpoint.Middleware {
				return func(next endpoint.Endpoint) endpoint.Endpoint {
					return func(ctx context.Context, request any) (any, error) {
						if op.Name == "StreamHeartbeats" {
							return next(ctx, request)
						}
						<-hold // Until everything has been sent.
						handed.Add(1)
						return nil, fmt.Errorf("wrapped: %w", tc.endpoint)
					}
				}
			}

			stream := serve(t, &streamService{}, Config{Authenticator: authenticator}, middleware, nil).open(t.Context(), t)
			for n := range uint64(queued) {
				sendFast(t, stream, n, "mc")
			}

			close(hold)
			out, err := stream.Recv()
			if err != nil {
				t.Fatalf("first response = %v", err)
			}

			if tc.want == codes.OK {
				for range queued - 1 {
					if out, err := stream.Recv(); err != nil || out.GetCode() == int32(codes.Unauthenticated) {
						t.Fatalf("response = %v, %v, want the stream to continue", out, err)
					}
				}
				return
			}

			if out.GetCode() != int32(tc.want) || out.GetMessage() != "Invalid token" {
				t.Errorf("first response = %v, want %v", out, tc.want)
			}

			_, err = stream.Recv()
			wantStatus(t, err, tc.want, "Invalid token")
			if got := handed.Load(); got != 1 {
				t.Errorf("heartbeats handed to the endpoints = %d, want 1: each would be charged to its address", got)
			}
		})
	}
}

func TestStream_ShutdownCompletesArrivedHeartbeats(t *testing.T) {
	shutdown, beginShutdown := context.WithCancel(t.Context())
	began, release := make(chan struct{}, 10), make(chan struct{})
	svc := &streamService{beat: func(context.Context, string) error {
		began <- struct{}{}
		<-release
		return nil
	}}

	w := serve(t, svc, Config{CallTimeout: time.Minute, Shutdown: shutdown}, nil, nil)
	stream := w.open(t.Context(), t)
	sendFast(t, stream, 1, "mc-1")
	sendFast(t, stream, 2, "mc-2")
	<-began
	<-began
	beginShutdown()
	close(release)

	acknowledged := map[uint64]bool{}
	for range 2 {
		out, err := stream.Recv()
		if err != nil || !out.GetAcknowledged() {
			t.Fatalf("response = %v, %v, want an acknowledgement", out, err)
		}
		acknowledged[out.GetSequence()] = true
	}

	_, err := stream.Recv()
	wantStatus(t, err, codes.Unavailable, "Server is stopping")
	if len(acknowledged) != 2 {
		t.Errorf("acknowledged heartbeats = %v, want 1 and 2", acknowledged)
	}

	w.server.GracefulStop()
}

func TestStream_ClientDisconnects(t *testing.T) {
	ctx, disconnect := context.WithCancel(t.Context())
	began := make(chan struct{}, 10*maxInFlight)
	svc := &streamService{beat: func(ctx context.Context, _ string) error {
		began <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}}

	w := serve(t, svc, Config{CallTimeout: time.Minute}, nil, nil)
	stream := w.open(ctx, t)
	for n := range uint64(2 * maxInFlight) {
		sendFast(t, stream, n, fmt.Sprintf("mc-%d", n))
	}

	for range maxInFlight {
		<-began
	}

	disconnect()
	if err := <-w.ended; status.Code(err) != codes.Canceled {
		t.Errorf("the handler returned %v, want Canceled", err)
	}
}

// panickingStream panics in RecvMsg.
type panickingStream struct{ grpc.ServerStream }

func (panickingStream) RecvMsg(any) error { panic("on purpose") }

func TestStream_PanicIsInternal(t *testing.T) {
	panics := atomic.Int32{}
	onPanic := func() { panics.Add(1) }
	t.Run("when a stream is admitted", func(t *testing.T) {
		// fakeService admits no streams.
		_, err := serve(t, &fakeService{}, Config{OnPanic: onPanic}, nil, nil).open(t.Context(), t).Recv()
		wantStatus(t, err, codes.Internal, "Internal error")
	})

	t.Run("when it is read", func(t *testing.T) {
		w := serve(t, &streamService{}, Config{OnPanic: onPanic}, nil, func(s grpc.ServerStream) grpc.ServerStream { return panickingStream{s} })
		_, err := w.open(t.Context(), t).Recv()
		wantStatus(t, err, codes.Internal, "Internal error")
	})

	t.Run("in a heartbeat, which does not end the stream", func(t *testing.T) {
		svc := &streamService{beat: func(_ context.Context, id string) error {
			if id == "panic" {
				panic("on purpose")
			}
			return nil
		}}
		stream := serve(t, svc, Config{OnPanic: onPanic}, nil, nil).open(t.Context(), t)
		sendFast(t, stream, 1, "panic")
		if out, err := stream.Recv(); err != nil || out.GetCode() != int32(codes.Internal) || out.GetMessage() != "Internal error" {
			t.Errorf("response = %v, %v, want Internal", out, err)
		}
		sendFast(t, stream, 2, "mc")
		wantAcknowledged(t, stream, 2)
	})

	if panics.Load() != 3 {
		t.Errorf("panics counted = %d, want 3", panics.Load())
	}
}

func TestStream_LongIDIsNotKept(t *testing.T) {
	long := strings.Repeat("a", 60<<10)
	h := newHeartbeat(fast(1, long))
	if got := len(h.report.ControllerID); got != maxKeptIDBytes {
		t.Errorf("kept %d bytes of the id, want %d", got, maxKeptIDBytes)
	}

	stream := serve(t, &streamService{}, Config{}, nil, nil).open(t.Context(), t)
	sendFast(t, stream, 1, long)
	if out, err := stream.Recv(); err != nil || out.GetMessage() != "controller_id is too long" {
		t.Errorf("response = %v, %v, want an error about the id", out, err)
	}
}

func BenchmarkStream(b *testing.B) {
	for _, underWay := range []uint64{1, 128} {
		b.Run(fmt.Sprint(underWay), func(b *testing.B) {
			svc := &streamService{beat: func(context.Context, string) error { return nil }}
			stream := serve(b, svc, Config{CallTimeout: 8 * time.Second}, nil, nil).open(b.Context(), b)
			for n := range underWay {
				_ = stream.Send(fast(n, fmt.Sprintf("mc-%d", n)))
			}

			b.ReportAllocs()
			for b.Loop() {
				out, err := stream.Recv()
				if err != nil {
					b.Fatal(err)
				}
				_ = stream.Send(fast(out.GetSequence(), "mc"))
			}
		})
	}
}
