package grpctransport

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/go-kit/kit/endpoint"
	"github.com/go-kit/log"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"darktower.example/global-controller/endpoints"
	"darktower.example/global-controller/proto/darktower"
	pb "darktower.example/global-controller/proto/darktower/v1"
	fleetpb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
)

// fakeService returns its fields and validates like the real one.
type fakeService struct {
	service.Service
	err  error
	call *endpoints.Call
	list service.ListQuery
}

func (f *fakeService) RegisterMC(ctx context.Context, r service.Registration) (service.RegistrationResponse, error) {
	f.call = endpoints.CallFrom(ctx)
	if r.ControllerID == "panic" {
		panic("on purpose")
	}
	if err := r.Validate(); err != nil {
		return service.RegistrationResponse{}, err
	}
	return service.RegistrationResponse{FastInterval: 10 * time.Second, ComprehensiveInterval: 30 * time.Second}, f.err
}

func (f *fakeService) FastHeartbeat(_ context.Context, h service.FastHeartbeat) (service.Acknowledgement, error) {
	return service.Acknowledgement{At: time.Unix(1700000000, 0)}, errors.Join(h.Validate(), f.err)
}

func (f *fakeService) ComprehensiveHeartbeat(_ context.Context, h service.ComprehensiveHeartbeat) (service.Acknowledgement, error) {
	return service.Acknowledgement{At: time.Unix(1700000000, 0)}, h.Validate()
}

func (f *fakeService) NotifyMeetingEnded(_ context.Context, m service.MeetingEnded) (service.Acknowledgement, error) {
	return service.Acknowledgement{}, m.Validate()
}

func (f *fakeService) GetController(_ context.Context, q service.ControllerQuery) (service.Controller, error) {
	return service.Controller{ControllerID: q.ControllerID, Health: service.HealthDegraded, MaxMeetings: 1, MaxParticipants: 1}, f.err
}

func (f *fakeService) ListControllers(_ context.Context, q service.ListQuery) (service.ControllerPage, error) {
	f.list = q
	return service.ControllerPage{Controllers: make([]service.Controller, 2), NextPageToken: "next"}, q.Validate()
}

func dial(t *testing.T, svc service.Service, onPanic func()) *grpc.ClientConn {
	t.Helper()
	nothing := func(endpoints.Operation) endpoint.Middleware {
		return func(e endpoint.Endpoint) endpoint.Endpoint { return e }
	}

	return dialServer(t, NewServer(endpoints.New(svc, nothing), Config{Logger: log.NewNopLogger(), OnPanic: onPanic}))
}

// dialServer serves until the end of the test and returns a connection.
func dialServer(t *testing.T, server *grpc.Server) *grpc.ClientConn {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}

	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Errorf("Serve() = %v, want nil", err)
		}
	})

	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatalf("dial: %v", err)
	}

	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func registration() *pb.RegisterMCRequest {
	return &pb.RegisterMCRequest{Id: "mc-1", Region: "eu", GrpcEndpoint: "http://mc-1:1", MaxMeetings: 1, MaxParticipants: 1}
}

func TestGlobalControllerService_BothNames(t *testing.T) {
	conn := dial(t, &fakeService{}, nil)
	type client interface {
		RegisterMC(context.Context, *pb.RegisterMCRequest, ...grpc.CallOption) (*pb.RegisterMCResponse, error)
		FastHeartbeat(context.Context, *pb.FastHeartbeatRequest, ...grpc.CallOption) (*pb.FastHeartbeatResponse, error)
		ComprehensiveHeartbeat(context.Context, *pb.ComprehensiveHeartbeatRequest, ...grpc.CallOption) (*pb.ComprehensiveHeartbeatResponse, error)
	}

	for name, c := range map[string]client{
		"v1": pb.NewGlobalControllerServiceClient(conn), "before v1": darktower.NewGlobalControllerServiceClient(conn),
	} {
		t.Run(name, func(t *testing.T) {
			registered, err := c.RegisterMC(t.Context(), registration())
			if err != nil || !registered.GetAccepted() || registered.GetMessage() != "Registration successful" ||
				registered.GetFastHeartbeatIntervalMs() != 10000 || registered.GetComprehensiveHeartbeatIntervalMs() != 30000 {
				t.Errorf("RegisterMC() = %v, %v", registered, err)
			}

			fast, err := c.FastHeartbeat(t.Context(), &pb.FastHeartbeatRequest{ControllerId: "mc-1", Capacity: &pb.ControllerCapacity{}})
			if err != nil || !fast.GetAcknowledged() || fast.GetTimestamp() != 1700000000 {
				t.Errorf("FastHeartbeat() = %v, %v", fast, err)
			}

			full, err := c.ComprehensiveHeartbeat(t.Context(), &pb.ComprehensiveHeartbeatRequest{
				ControllerId: "mc-1",
				Capacity:     &pb.ControllerCapacity{},
			})
			if err != nil || !full.GetAcknowledged() || full.GetTimestamp() != 1700000000 {
				t.Errorf("ComprehensiveHeartbeat() = %v, %v", full, err)
			}

			_, err = c.FastHeartbeat(t.Context(), &pb.FastHeartbeatRequest{ControllerId: "mc-1"})
			wantStatus(t, err, codes.InvalidArgument, "capacity is required")
		})
	}

	ended := &pb.NotifyMeetingEndedRequest{MeetingId: "m", Region: "eu"}
	if _, err := pb.NewGlobalControllerServiceClient(conn).NotifyMeetingEnded(t.Context(), ended); err != nil {
		t.Errorf("NotifyMeetingEnded() = %v, want nil", err)
	}
}

func wantStatus(t *testing.T, err error, code codes.Code, message string) {
	t.Helper()
	if got := status.Convert(err); got.Code() != code || got.Message() != message {
		t.Errorf("status = %v %q, want %v %q", got.Code(), got.Message(), code, message)
	}
}

func TestServer_ErrorsHaveCodeAndNoDetail(t *testing.T) {
	svc := &fakeService{err: errors.Join(errors.New("SELECT secret"), service.ErrUnavailable)}
	panics := 0
	conn := dial(t, svc, func() { panics++ })
	c := pb.NewGlobalControllerServiceClient(conn)
	_, err := c.RegisterMC(t.Context(), registration())
	wantStatus(t, err, codes.Unavailable, "Service temporarily unavailable")
	_, err = c.RegisterMC(t.Context(), &pb.RegisterMCRequest{})
	wantStatus(t, err, codes.InvalidArgument, "controller_id is required")
	_, err = c.RegisterMC(t.Context(), &pb.RegisterMCRequest{Id: "panic"})
	wantStatus(t, err, codes.Internal, "Internal error")
	if panics != 1 {
		t.Errorf("panics counted = %d, want 1", panics)
	}

	_, err = c.RegisterMC(t.Context(), &pb.RegisterMCRequest{Id: strings.Repeat("a", maxMessageBytes)})
	if got := status.Code(err); got != codes.ResourceExhausted {
		t.Errorf("a message over the limit = %v, want ResourceExhausted", got)
	}
}

func TestServer_CallMetadata(t *testing.T) {
	svc := &fakeService{}
	c := pb.NewGlobalControllerServiceClient(dial(t, svc, nil))
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-request-id", "req-1", "authorization", "Bearer a", "authorization", "Bearer b")

	var header metadata.MD
	if _, err := c.RegisterMC(ctx, registration(), grpc.Header(&header)); err != nil {
		t.Fatalf("RegisterMC() = %v", err)
	}

	if svc.call.Transport != "grpc" || svc.call.Address != "127.0.0.1" || svc.call.RequestID != "req-1" || len(svc.call.Authorization) != 2 {
		t.Errorf("call = %q %q %q and %d authorizations, want grpc 127.0.0.1 req-1 and 2",
			svc.call.Transport, svc.call.Address, svc.call.RequestID, len(svc.call.Authorization))
	}

	if got := header.Get("x-request-id"); len(got) != 1 || got[0] != "req-1" {
		t.Errorf("x-request-id returned = %q, want req-1", got)
	}
}

func TestFleetService_ReadsReachService(t *testing.T) {
	svc := &fakeService{}
	c := fleetpb.NewFleetServiceClient(dial(t, svc, nil))
	one, err := c.GetController(t.Context(), &fleetpb.GetControllerRequest{ControllerId: "mc-1"})
	if err != nil || one.GetController().GetHealth() != fleetpb.Health_HEALTH_DEGRADED || !one.GetController().GetPlacement().GetPlaceable() {
		t.Errorf("GetController() = %v, %v, want a degraded controller that accepts meetings", one, err)
	}

	page, err := c.ListControllers(t.Context(), &fleetpb.ListControllersRequest{
		Region:   "eu",
		Health:   fleetpb.Health_HEALTH_DRAINING,
		PageSize: 2,
	})
	if err != nil || len(page.GetControllers()) != 2 || page.GetNextPageToken() != "next" {
		t.Errorf("ListControllers() = %v, %v, want two and a token", page, err)
	}

	if want := (service.ListQuery{Region: "eu", Health: service.HealthDraining, PageSize: 2}); svc.list != want {
		t.Errorf("query = %+v, want %+v", svc.list, want)
	}

	_, err = c.ListControllers(t.Context(), &fleetpb.ListControllersRequest{Health: 99})
	wantStatus(t, err, codes.InvalidArgument, "health must be one of pending, healthy, degraded, unhealthy, draining")
}

func TestServer_ShutdownEndsIdleReflectionStream(t *testing.T) {
	shutdown, beginShutdown := context.WithCancel(t.Context())
	w := serve(t, &streamService{}, Config{Reflection: true, Shutdown: shutdown}, nil, nil)
	stream, err := reflectionpb.NewServerReflectionClient(w.conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatalf("open: %v", err)
	}

	_ = stream.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
	if _, err := stream.Recv(); err != nil {
		t.Fatalf("list services: %v", err)
	}

	beginShutdown()
	w.server.GracefulStop()
	_, err = stream.Recv()
	wantStatus(t, err, codes.Unavailable, "Server is stopping")
	if err := <-w.ended; status.Code(err) != codes.Canceled {
		t.Errorf("the handler returned %v, want Canceled", err)
	}
}
