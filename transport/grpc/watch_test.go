package grpctransport

import (
	"context"
	"testing"
	"time"

	"github.com/go-kit/kit/endpoint"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"darktower.example/global-controller/endpoints"
	pb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
)

// watchService returns one watch.
type watchService struct {
	fakeService
	query service.WatchQuery
	watch *fakeWatch
}

func (s *watchService) Watch(_ context.Context, q service.WatchQuery) (service.Watch, error) {
	s.query = q
	if err := q.Validate(); err != nil {
		return nil, err
	}
	return s.watch, nil
}

// fakeWatch returns what next returns.
type fakeWatch struct {
	next   func(ctx context.Context) (service.WatchEvent, error)
	closed chan struct{}
}

func newFakeWatch(next func(ctx context.Context) (service.WatchEvent, error)) *fakeWatch {
	return &fakeWatch{next, make(chan struct{})}
}

func (w *fakeWatch) Next(ctx context.Context) (service.WatchEvent, error) { return w.next(ctx) }
func (w *fakeWatch) Close()                                               { close(w.closed) }

// wantClosed checks that the watch was closed, whatever ended the stream.
func (w *fakeWatch) wantClosed(t *testing.T) {
	t.Helper()
	select {
	case <-w.closed:
	case <-time.After(10 * time.Second):
		t.Error("the watch is not closed")
	}
}

func TestWatch_EventForms(t *testing.T) {
	events := []service.WatchEvent{
		{Snapshot: &service.WatchSnapshot{
			Begin:       true,
			Reason:      service.SnapshotStart,
			Controllers: []*service.Controller{{ControllerID: "a", Health: service.HealthHealthy}},
		}},
		{ID: 5, Fingerprint: "0123456789ab", Snapshot: &service.WatchSnapshot{End: true, Reason: service.SnapshotStart}},
		{
			ID:      6,
			AsOf:    time.Unix(1700000000, 0),
			Changes: []service.WatchChange{{ControllerID: "a", Transition: &service.Transition{ID: 6, From: service.HealthHealthy}}},
		},
		{ID: 6, Loads: []service.WatchLoad{{ControllerID: "a", CurrentMeetings: 3, LastHeartbeatAt: time.Unix(1700000000, 0)}}},
		{ID: 6, AsOf: time.Unix(1700000001, 0)},
	}

	left := events
	svc := &watchService{watch: newFakeWatch(func(context.Context) (service.WatchEvent, error) {
		if len(left) == 0 {
			return service.WatchEvent{}, service.ErrUnavailable
		}
		e := left[0].WithEncodingCache()
		left = left[1:]
		return e, nil
	})}

	w := serve(t, svc, Config{}, nil, nil)
	after := uint64(4)
	stream, err := pb.NewFleetServiceClient(w.conn).Watch(t.Context(), &pb.WatchRequest{Region: "eu", After: &after, Loads: true})
	if err != nil {
		t.Fatalf("Watch() = %v", err)
	}

	header, err := stream.Header()
	if err != nil || len(header.Get("x-request-id")) != 1 {
		t.Errorf("header = %v, %v, want a request id", header, err)
	}

	for i, e := range events {
		got, err := stream.Recv()
		if want := e.Cursor().String(); e.ID != 0 && got.GetCursor() != want {
			t.Errorf("cursor %d = %q, want %q", i, got.GetCursor(), want)
		}
		if want := watchEventToProto(e); err != nil || !proto.Equal(got, want) {
			t.Errorf("response %d = %v, %v, want %v", i, got, err, want)
		}
	}

	_, err = stream.Recv()
	wantStatus(t, err, codes.Unavailable, "Service temporarily unavailable")
	if q := svc.query; q.Region != "eu" || *q.After != 4 || !q.Loads {
		t.Errorf("query = %+v, want that of the request", q)
	}

	svc.watch.wantClosed(t)
}

func TestWatch_InvalidQueryIsRefused(t *testing.T) {
	w := serve(t, &watchService{}, Config{}, nil, nil)
	stream, err := pb.NewFleetServiceClient(w.conn).Watch(t.Context(), &pb.WatchRequest{Region: "a.b"})
	if err == nil {
		_, err = stream.Recv()
	}
	wantStatus(t, err, codes.InvalidArgument, "region contains invalid characters")
}

func TestWatch_PanicIsInternal(t *testing.T) {
	panics := make(chan struct{}, 1)
	svc := &watchService{watch: newFakeWatch(func(context.Context) (service.WatchEvent, error) { panic("on purpose") })}
	w := serve(t, svc, Config{OnPanic: func() { panics <- struct{}{} }}, nil, nil)
	stream, err := pb.NewFleetServiceClient(w.conn).Watch(t.Context(), &pb.WatchRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	wantStatus(t, err, codes.Internal, "Internal error")
	<-panics
	svc.watch.wantClosed(t)
}

// TestWatch_ClientReadsNothing checks that a client that reads nothing does not keep a goroutine for ever.
func TestWatch_ClientReadsNothing(t *testing.T) {
	big := service.WatchEvent{Snapshot: &service.WatchSnapshot{}}
	for range 500 {
		big.Snapshot.Controllers = append(big.Snapshot.Controllers, &service.Controller{
			ControllerID: "mc",
			GRPCEndpoint: "http://mc.example:50051",
		})
	}
	big = big.WithEncodingCache()

	svc := &watchService{watch: newFakeWatch(func(context.Context) (service.WatchEvent, error) { return big, nil })}
	noMiddleware := func(endpoints.Operation) endpoint.Middleware { return unwrapped }
	server := &fleetServer{endpoints: endpoints.New(svc, noMiddleware), sendTimeout: 100 * time.Millisecond}
	stalled := &stalledStream{ctx: t.Context(), sent: make(chan struct{})}

	err := server.Watch(&pb.WatchRequest{}, stalled)
	wantStatus(t, err, codes.ResourceExhausted, "The client does not read the responses")
	close(stalled.sent) // The stream has ended.
	svc.watch.wantClosed(t)
}

// stalledStream blocks until sent is closed, and then fails.
type stalledStream struct {
	grpc.ServerStreamingServer[pb.WatchResponse]
	ctx  context.Context
	sent chan struct{}
}

func (s *stalledStream) Context() context.Context     { return s.ctx }
func (s *stalledStream) SetHeader(metadata.MD) error  { return nil }
func (s *stalledStream) SendHeader(metadata.MD) error { return nil }
func (s *stalledStream) SendMsg(any) error {
	<-s.sent
	return status.Error(codes.Canceled, "over")
}

func TestWatch_RequestDoesNotArrive(t *testing.T) {
	shutdown, beginShutdown := context.WithCancel(t.Context())
	w := serve(t, &watchService{}, Config{CallTimeout: 200 * time.Millisecond, Shutdown: shutdown}, nil, nil)
	open := func() grpc.ClientStream {
		t.Helper()
		stream, err := w.conn.NewStream(t.Context(), &grpc.StreamDesc{
			ServerStreams: true,
			ClientStreams: true,
		}, pb.FleetService_Watch_FullMethodName)
		if err != nil {
			t.Fatalf("open: %v", err)
		}
		return stream
	}

	wantStatus(t, open().RecvMsg(new(pb.WatchResponse)), codes.DeadlineExceeded, "Deadline exceeded")
	stream := open()
	beginShutdown()
	wantStatus(t, stream.RecvMsg(new(pb.WatchResponse)), codes.Unavailable, "Server is stopping")
	w.server.GracefulStop()
}
