package grpctransport

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/go-kit/kit/endpoint"
	"github.com/go-kit/log"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"darktower.example/global-controller/endpoints"
	mcpb "darktower.example/global-controller/proto/darktower/v1"
	pb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
)

// streamService admits every stream and calls beat for each heartbeat.
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

func unwrapped(e endpoint.Endpoint) endpoint.Endpoint { return e }

// testServer is a server with one client. ended gets the result of each stream.
type testServer struct {
	server *grpc.Server
	conn   *grpc.ClientConn
	ended  chan error
}

// serve starts a server. wrap wraps its streams and may be nil.
func serve(
	t testing.TB, svc service.Service, cfg Config, middleware endpoints.Middleware, wrap func(grpc.ServerStream) grpc.ServerStream,
) *testServer {
	t.Helper()
	server := &testServer{ended: make(chan error, 1000)}
	cfg.Logger = log.NewNopLogger()
	if middleware == nil {
		middleware = func(endpoints.Operation) endpoint.Middleware { return unwrapped }
	}

	server.server = NewServer(endpoints.New(svc, middleware), cfg, grpc.ChainStreamInterceptor(
		func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			if wrap != nil {
				stream = wrap(stream)
			}
			err := handler(srv, stream)
			server.ended <- err
			return err
		},
	))

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}

	served := make(chan error, 1)
	go func() { served <- server.server.Serve(listener) }()
	if server.conn, err = grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatalf("dial: %v", err)
	}

	t.Cleanup(func() {
		_ = server.conn.Close()
		server.server.Stop()
		if err := <-served; err != nil {
			t.Errorf("Serve() = %v, want nil", err)
		}
	})

	return server
}

type clientStream = grpc.BidiStreamingClient[pb.StreamHeartbeatsRequest, pb.StreamHeartbeatsResponse]

func (s *testServer) open(ctx context.Context, t testing.TB) clientStream {
	t.Helper()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer token")
	stream, err := pb.NewHeartbeatServiceClient(s.conn).StreamHeartbeats(ctx)
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
		t.Fatalf("response = %v, %v, want an acknowledgement of %d", out, err, sequence)
	}
}

// scriptedStream is a stream without a transport. Its client sends the messages in sent, and then nothing more.
type scriptedStream struct {
	grpc.ServerStream
	ctx     context.Context
	sent    []*pb.StreamHeartbeatsRequest
	respond func(*pb.StreamHeartbeatsResponse) error
}

func (s *scriptedStream) Context() context.Context                    { return s.ctx }
func (s *scriptedStream) SetHeader(metadata.MD) error                 { return nil }
func (s *scriptedStream) SendHeader(metadata.MD) error                { return nil }
func (s *scriptedStream) SendMsg(out any) error                       { return s.respond(out.(*pb.StreamHeartbeatsResponse)) }
func (s *scriptedStream) Send(out *pb.StreamHeartbeatsResponse) error { return s.respond(out) }
func (s *scriptedStream) Recv() (*pb.StreamHeartbeatsRequest, error)  { panic("not used") }

func (s *scriptedStream) RecvMsg(in any) error {
	if len(s.sent) == 0 || s.ctx.Err() != nil {
		<-s.ctx.Done()
		return s.ctx.Err()
	}
	next := s.sent[0]
	s.sent = s.sent[1:]
	in.(*pb.StreamHeartbeatsRequest).Sequence, in.(*pb.StreamHeartbeatsRequest).Heartbeat = next.Sequence, next.Heartbeat
	return nil
}

// play runs a stream like the transport: its context ends when its handler has returned.
func (s *scriptedStream) play(ctx context.Context, svc service.Service, cfg Config, timeout time.Duration) error {
	cfg.Logger = log.NewNopLogger()
	h := &heartbeatServer{
		endpoints:      endpoints.New(svc, endpoints.Deadline(timeout)),
		cfg:            cfg,
		sendTimeout:    defaultSendTimeout,
		workerIdleTime: defaultWorkerIdleTime,
	}
	return s.playAt(ctx, h)
}

func (s *scriptedStream) playAt(ctx context.Context, h *heartbeatServer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.ctx = ctx
	return h.StreamHeartbeats(s)
}
