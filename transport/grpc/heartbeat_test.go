package grpctransport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-kit/kit/endpoint"
	"github.com/go-kit/log"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"darktower.example/global-controller/endpoints"
	mcpb "darktower.example/global-controller/proto/darktower/v1"
	pb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// streamService admits every stream and takes heartbeats as beat says.
type streamService struct {
	fakeService
	beat func(ctx context.Context, controllerID string) error
}

func (s *streamService) StreamHeartbeats(_ context.Context, h service.HeartbeatStream) (service.HeartbeatStream, error) {
	return h, nil
}

func (s *streamService) FastHeartbeat(ctx context.Context, h service.FastHeartbeat) (service.Acknowledgement, error) {
	if err := h.Validate(); err != nil {
		return service.Acknowledgement{}, err
	}
	return service.Acknowledgement{At: time.Unix(1700000000, 0)}, s.beat(ctx, h.ControllerID)
}

func at(e endpoint.Endpoint) endpoint.Endpoint { return e }

// world is a server with one client, and what its streams ended with.
type world struct {
	server *grpc.Server
	conn   *grpc.ClientConn
	ended  chan error
}

// serve starts a server. wrap, which may be nil, puts something around its streams.
func serve(t testing.TB, svc service.Service, cfg Config, middleware endpoints.Middleware, wrap func(grpc.ServerStream) grpc.ServerStream) *world {
	t.Helper()
	w := &world{ended: make(chan error, 1000)}
	cfg.Logger = log.NewNopLogger()
	if middleware == nil {
		middleware = func(endpoints.Operation) endpoint.Middleware { return at }
	}

	w.server = NewServer(endpoints.New(svc, middleware), cfg, grpc.ChainStreamInterceptor(
		func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			if wrap != nil {
				stream = wrap(stream)
			}
			err := handler(srv, stream)
			w.ended <- err
			return err
		},
	))

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}

	served := make(chan error, 1)
	go func() { served <- w.server.Serve(listener) }()
	if w.conn, err = grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatalf("dial: %v", err)
	}

	t.Cleanup(func() {
		_ = w.conn.Close()
		w.server.Stop()
		if err := <-served; err != nil {
			t.Errorf("Serve() = %v, want nil", err)
		}
	})

	return w
}

type clientStream = grpc.BidiStreamingClient[pb.StreamHeartbeatsRequest, pb.StreamHeartbeatsResponse]

func (w *world) open(ctx context.Context, t testing.TB) clientStream {
	t.Helper()
	stream, err := pb.NewHeartbeatServiceClient(w.conn).StreamHeartbeats(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer token"))
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return stream
}

func fast(sequence uint64, id string) *pb.StreamHeartbeatsRequest {
	return &pb.StreamHeartbeatsRequest{Sequence: sequence, Heartbeat: &pb.StreamHeartbeatsRequest_Fast{
		Fast: &mcpb.FastHeartbeatRequest{ControllerId: id, Capacity: &mcpb.ControllerCapacity{}},
	}}
}

func sendFast(t *testing.T, stream clientStream, sequence uint64, id string) {
	t.Helper()
	if err := stream.Send(fast(sequence, id)); err != nil {
		t.Fatalf("send: %v", err)
	}
}

func wantAcknowledged(t *testing.T, stream clientStream, sequence uint64) {
	t.Helper()
	if out, err := stream.Recv(); err != nil || !out.GetAcknowledged() || out.GetSequence() != sequence {
		t.Fatalf("answer = %v, %v, want an acknowledgement of %d", out, err, sequence)
	}
}

func TestStream_SlowControllerBlocksNoOther(t *testing.T) {
	release := make(chan struct{})
	svc := &streamService{beat: func(_ context.Context, id string) error {
		if id == "held-up" {
			<-release
		}
		return nil
	}}

	stream := serve(t, svc, Config{}, nil, nil).open(t.Context(), t)
	const held, others = 20, 1000
	for n := range uint64(held) {
		sendFast(t, stream, n, "held-up")
	}

	for n := range uint64(others) {
		sendFast(t, stream, held+n, fmt.Sprintf("mc-%d", n))
		wantAcknowledged(t, stream, held+n)
	}

	close(release)
	for n := range uint64(held) {
		wantAcknowledged(t, stream, n) // In the order in which they were sent.
	}

	_ = stream.CloseSend()
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the stream ended with %v, want the end", err)
	}
}

// scripted is a stream without a transport. Its caller sends what is in sent, and then nothing more.
type scripted struct {
	grpc.ServerStream
	ctx    context.Context
	sent   []*pb.StreamHeartbeatsRequest
	answer func(*pb.StreamHeartbeatsResponse) error
}

func (s *scripted) Context() context.Context                    { return s.ctx }
func (s *scripted) SetHeader(metadata.MD) error                 { return nil }
func (s *scripted) SendHeader(metadata.MD) error                { return nil }
func (s *scripted) SendMsg(out any) error                       { return s.answer(out.(*pb.StreamHeartbeatsResponse)) }
func (s *scripted) Send(out *pb.StreamHeartbeatsResponse) error { return s.answer(out) }
func (s *scripted) Recv() (*pb.StreamHeartbeatsRequest, error)  { panic("not used") }

func (s *scripted) RecvMsg(in any) error {
	if len(s.sent) == 0 || s.ctx.Err() != nil {
		<-s.ctx.Done()
		return s.ctx.Err()
	}
	next := s.sent[0]
	s.sent = s.sent[1:]
	in.(*pb.StreamHeartbeatsRequest).Sequence, in.(*pb.StreamHeartbeatsRequest).Heartbeat = next.Sequence, next.Heartbeat
	return nil
}

// play runs a stream as the transport would, whose context ends when its handler has returned.
func (s *scripted) play(ctx context.Context, svc service.Service, cfg Config, bound time.Duration) error {
	cfg.Logger = log.NewNopLogger()
	h := &heartbeatServer{endpoints: endpoints.New(svc, endpoints.Deadline(bound)), cfg: cfg, sendTimeout: sendTimeout, workerIdleTime: workerIdleTime}
	return s.playAt(ctx, h)
}

func (s *scripted) playAt(ctx context.Context, h *heartbeatServer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.ctx = ctx
	return h.StreamHeartbeats(s)
}

func TestStream_QueuedHeartbeatKeepsCallTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		ctx, hangUp := context.WithCancel(t.Context())
		var calls atomic.Int32
		// The store hangs, but for the first heartbeat, which it takes 5 s for.
		svc := &streamService{beat: func(ctx context.Context, _ string) error {
			if calls.Add(1) == 1 {
				time.Sleep(5 * time.Second)
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}}

		var answers []string
		stream := &scripted{answer: func(out *pb.StreamHeartbeatsResponse) error {
			answers = append(answers, fmt.Sprintf("%d: %d %s after %v", out.GetSequence(), out.GetCode(), out.GetMessage(), time.Since(began)))
			if out.GetSequence() == 5 {
				hangUp()
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

		if !slices.Equal(answers, want) || calls.Load() != 2 {
			t.Errorf("%d calls, answers %q, want 2 calls and %q", calls.Load(), answers, want)
		}
	})
}

func TestStream_ClientReadsNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		drain bool
		want  error
		took  time.Duration
	}{
		"by itself": {false, errNotReading, sendTimeout},
		"in a stop": {true, errStopping, 500*time.Millisecond + 9*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				draining, drain := context.WithCancel(t.Context())
				defer drain()
				if tc.drain {
					time.AfterFunc(500*time.Millisecond, drain)
				}

				stream := &scripted{}
				stream.answer = func(*pb.StreamHeartbeatsResponse) error {
					<-stream.ctx.Done()
					return stream.ctx.Err()
				}

				for n := range uint64(2000) {
					stream.sent = append(stream.sent, fast(n, "mc"))
				}

				svc := &streamService{beat: func(context.Context, string) error { return nil }}
				err := stream.play(t.Context(), svc, Config{CallTimeout: 8 * time.Second, Shutdown: draining}, 8*time.Second)
				if took := time.Since(began); !errors.Is(err, tc.want) || took != tc.took {
					t.Errorf("ended with %v after %v, want %v after %v", err, took, tc.want, tc.took)
				}

				synctest.Wait() // Nor may a goroutine be left, or the bubble does not end.
				if read := 2000 - len(stream.sent); read > maxInFlight+1 {
					t.Errorf("%d heartbeats were read, want no more than have a slot", read)
				}
			})
		})
	}
}

func TestStream_ClientSendsAndNeverReads(t *testing.T) {
	draining, drain := context.WithCancel(t.Context())
	defer drain()
	blocked := make(chan struct{})
	w := serve(t, &streamService{beat: func(context.Context, string) error { return nil }}, Config{Shutdown: draining}, nil,
		func(s grpc.ServerStream) grpc.ServerStream { return &blockable{ServerStream: s, blocked: blocked} })
	stream := w.open(t.Context(), t)
	sender := make(chan struct{})
	go func() {
		defer close(sender)
		for n := uint64(0); stream.Send(fast(n, "a.b")) == nil; n++ {
		}
	}()

	<-blocked
	drain()
	if err := <-w.ended; !errors.Is(err, errStopping) {
		t.Errorf("the handler returned %v, want %v", err, errStopping)
	}

	_ = w.conn.Close()
	<-sender
}

// blockable tells when an answer waits for its caller to read.
type blockable struct {
	grpc.ServerStream
	blocked chan struct{}
	once    sync.Once
}

func (b *blockable) SendMsg(m any) error {
	slow := time.AfterFunc(time.Second, func() { b.once.Do(func() { close(b.blocked) }) })
	defer slow.Stop()
	return b.ServerStream.SendMsg(m)
}

// switched is an authenticator whose answer can be changed.
type switched struct{ err atomic.Pointer[error] }

func (s *switched) answer(err error) { s.err.Store(&err) }

func (s *switched) Authenticate(context.Context, []string) (service.Caller, error) {
	return service.Caller{}, *s.err.Load()
}

func TestStream_EndsWithItsToken(t *testing.T) {
	const queued = 100
	for name, tc := range map[string]struct {
		endpoint, authenticator error
		want                    codes.Code // OK when the stream goes on.
	}{
		"seen":                        {service.ErrUnauthenticated, service.ErrUnauthenticated, codes.Unauthenticated},
		"hidden by a refusal":         {service.ErrRateLimited, service.ErrUnauthenticated, codes.Unauthenticated},
		"hidden by trouble":           {service.ErrUnavailable, service.ErrUnauthenticated, codes.Unauthenticated},
		"a refusal of something else": {service.ErrRateLimited, nil, codes.OK},
		"trouble with the store":      {service.ErrUnavailable, nil, codes.OK},
		"trouble with the keys":       {service.ErrUnavailable, service.ErrUnavailable, codes.OK},
	} {
		t.Run(name, func(t *testing.T) {
			authenticator, handed, hold := &switched{}, atomic.Int32{}, make(chan struct{})
			authenticator.answer(tc.authenticator)
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
				t.Fatalf("first answer = %v", err)
			}
			if tc.want == codes.OK {
				for range queued - 1 {
					if out, err := stream.Recv(); err != nil || out.GetCode() == int32(codes.Unauthenticated) {
						t.Fatalf("answer = %v, %v, want the stream to go on", out, err)
					}
				}
				return
			}
			if out.GetCode() != int32(tc.want) || out.GetMessage() != "Invalid token" {
				t.Errorf("first answer = %v, want %v", out, tc.want)
			}

			_, err = stream.Recv()
			wantStatus(t, err, tc.want, "Invalid token")
			if got := handed.Load(); got != 1 {
				t.Errorf("heartbeats handed to the endpoints = %d, want 1: each would be charged to its address", got)
			}
		})
	}
}

func TestStream_ShutdownAnswersArrivedHeartbeats(t *testing.T) {
	draining, drain := context.WithCancel(t.Context())
	began, release := make(chan struct{}, 10), make(chan struct{})
	svc := &streamService{beat: func(context.Context, string) error {
		began <- struct{}{}
		<-release
		return nil
	}}

	w := serve(t, svc, Config{CallTimeout: time.Minute, Shutdown: draining}, nil, nil)
	stream := w.open(t.Context(), t)
	sendFast(t, stream, 1, "mc-1")
	sendFast(t, stream, 2, "mc-2")
	<-began
	<-began
	drain()
	close(release)
	seen := map[uint64]bool{}
	for range 2 {
		out, err := stream.Recv()
		if err != nil || !out.GetAcknowledged() {
			t.Fatalf("answer = %v, %v, want an acknowledgement", out, err)
		}
		seen[out.GetSequence()] = true
	}

	_, err := stream.Recv()
	wantStatus(t, err, codes.Unavailable, "The server is stopping")
	if len(seen) != 2 {
		t.Errorf("answered = %v, want 1 and 2", seen)
	}

	w.server.GracefulStop()
}

func TestStream_ClientDisconnects(t *testing.T) {
	ctx, leave := context.WithCancel(t.Context())
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

	leave()
	if err := <-w.ended; status.Code(err) != codes.Canceled {
		t.Errorf("the handler returned %v, want Canceled", err)
	}
}

// panicking panics in what a stream reads.
type panicking struct{ grpc.ServerStream }

func (panicking) RecvMsg(any) error { panic("on purpose") }

func TestStream_Panic(t *testing.T) {
	panics := atomic.Int32{}
	onPanic := func() { panics.Add(1) }
	t.Run("when a stream is let in", func(t *testing.T) {
		// fakeService admits no streams.
		_, err := serve(t, &fakeService{}, Config{OnPanic: onPanic}, nil, nil).open(t.Context(), t).Recv()
		wantStatus(t, err, codes.Internal, "Internal error")
	})

	t.Run("when it is read", func(t *testing.T) {
		w := serve(t, &streamService{}, Config{OnPanic: onPanic}, nil, func(s grpc.ServerStream) grpc.ServerStream { return panicking{s} })
		_, err := w.open(t.Context(), t).Recv()
		wantStatus(t, err, codes.Internal, "Internal error")
	})

	t.Run("in a heartbeat, and not even that", func(t *testing.T) {
		svc := &streamService{beat: func(_ context.Context, id string) error {
			if id == "panic" {
				panic("on purpose")
			}
			return nil
		}}
		stream := serve(t, svc, Config{OnPanic: onPanic}, nil, nil).open(t.Context(), t)
		sendFast(t, stream, 1, "panic")
		if out, err := stream.Recv(); err != nil || out.GetCode() != int32(codes.Internal) || out.GetMessage() != "Internal error" {
			t.Errorf("answer = %v, %v, want Internal", out, err)
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
		t.Errorf("answer = %v, %v, want a refusal of the id", out, err)
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
