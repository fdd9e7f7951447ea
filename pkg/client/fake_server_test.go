package client

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	darktowerv1 "darktower.example/global-controller/proto/darktower/v1"
	globalcontrollerv1 "darktower.example/global-controller/proto/globalcontroller/v1"
)

// fakeGlobalController is a Global Controller with settable responses.
type fakeGlobalController struct {
	darktowerv1.UnimplementedGlobalControllerServiceServer
	address string
	server  *grpc.Server
	calls   chan receivedCall // All calls that have arrived.

	mu        sync.Mutex
	respond   func(receivedCall) error // nil: every call succeeds.
	intervals Intervals
	// ended is closed to end the streams, with endErr.
	ended  chan struct{}
	endErr error
}

// receivedCall is a call that has arrived.
type receivedCall struct {
	method      string
	token       string
	stream      bool
	health      darktowerv1.HealthStatus
	load        *darktowerv1.ControllerCapacity
	cpu         float32
	id          string
	incarnation string
}

// startGlobalController serves on a free port, with heartbeat streams if streams is true.
func startGlobalController(t *testing.T, streams bool) *fakeGlobalController {
	t.Helper()
	gc := &fakeGlobalController{
		server:    grpc.NewServer(),
		calls:     make(chan receivedCall, 10_000),
		ended:     make(chan struct{}),
		intervals: Intervals{Fast: 20 * time.Millisecond, Comprehensive: time.Minute},
	}

	darktowerv1.RegisterGlobalControllerServiceServer(gc.server, gc)
	globalcontrollerv1.RegisterFleetServiceServer(gc.server, fakeFleet{gc: gc})
	if streams {
		globalcontrollerv1.RegisterHeartbeatServiceServer(gc.server, fakeStreams{gc: gc})
	}
	gc.address = serve(t, gc.server)
	return gc
}

// setResponse sets the function that decides how calls end from now on.
func (gc *fakeGlobalController) setResponse(respond func(receivedCall) error) {
	gc.mu.Lock()
	defer gc.mu.Unlock()
	gc.respond = respond
}

// endStreams ends all open streams.
func (gc *fakeGlobalController) endStreams(err error) {
	gc.mu.Lock()
	defer gc.mu.Unlock()
	gc.endErr = err
	close(gc.ended)
	gc.ended = make(chan struct{})
}

func (gc *fakeGlobalController) record(ctx context.Context, s receivedCall) error {
	md, _ := metadata.FromIncomingContext(ctx)
	if values := md.Get("authorization"); len(values) == 1 {
		s.token = values[0]
	}

	gc.mu.Lock()
	respond := gc.respond
	gc.mu.Unlock()
	var err error
	if respond != nil {
		err = respond(s)
	}

	select {
	case gc.calls <- s:
	default:
	}
	return err
}

func (gc *fakeGlobalController) intervalsMS() (fast, comprehensive uint64) {
	gc.mu.Lock()
	defer gc.mu.Unlock()
	return uint64(gc.intervals.Fast.Milliseconds()), uint64(gc.intervals.Comprehensive.Milliseconds())
}

func (gc *fakeGlobalController) RegisterMC(
	ctx context.Context, in *darktowerv1.RegisterMCRequest,
) (*darktowerv1.RegisterMCResponse, error) {
	fast, comprehensive := gc.intervalsMS()
	response := &darktowerv1.RegisterMCResponse{
		Accepted:                         true,
		FastHeartbeatIntervalMs:          fast,
		ComprehensiveHeartbeatIntervalMs: comprehensive,
	}
	call := receivedCall{method: methodRegister, id: in.GetId(), incarnation: in.GetIncarnation()}
	return response, gc.record(ctx, call)
}

func (gc *fakeGlobalController) FastHeartbeat(
	ctx context.Context, in *darktowerv1.FastHeartbeatRequest,
) (*darktowerv1.FastHeartbeatResponse, error) {
	return &darktowerv1.FastHeartbeatResponse{Acknowledged: true}, gc.record(ctx, fastCall(in))
}

func (gc *fakeGlobalController) ComprehensiveHeartbeat(
	ctx context.Context, in *darktowerv1.ComprehensiveHeartbeatRequest,
) (*darktowerv1.ComprehensiveHeartbeatResponse, error) {
	return &darktowerv1.ComprehensiveHeartbeatResponse{Acknowledged: true}, gc.record(ctx, comprehensiveCall(in))
}

func fastCall(in *darktowerv1.FastHeartbeatRequest) receivedCall {
	return receivedCall{
		method:      methodFast,
		id:          in.GetControllerId(),
		health:      in.GetHealth(),
		load:        in.GetCapacity(),
		incarnation: in.GetIncarnation(),
	}
}

func comprehensiveCall(in *darktowerv1.ComprehensiveHeartbeatRequest) receivedCall {
	return receivedCall{
		method:      methodComprehensive,
		id:          in.GetControllerId(),
		health:      in.GetHealth(),
		load:        in.GetCapacity(),
		cpu:         in.GetCpuUsagePercent(),
		incarnation: in.GetIncarnation(),
	}
}

type fakeFleet struct {
	globalcontrollerv1.UnimplementedFleetServiceServer
	gc *fakeGlobalController
}

func (f fakeFleet) Deregister(
	ctx context.Context, in *globalcontrollerv1.DeregisterRequest,
) (*globalcontrollerv1.DeregisterResponse, error) {
	call := receivedCall{method: methodDeregister, id: in.GetControllerId(), incarnation: in.GetIncarnation()}
	return &globalcontrollerv1.DeregisterResponse{}, f.gc.record(ctx, call)
}

type fakeStreams struct {
	globalcontrollerv1.UnimplementedHeartbeatServiceServer
	gc *fakeGlobalController
}

// errEndStream and errEndStreamCleanly end the stream instead of a response to a heartbeat. errNoResponse sends none.
var (
	errEndStream        = errors.New("end the stream")
	errEndStreamCleanly = errors.New("end the stream without an error")
	errNoResponse       = errors.New("send no response")
)

func (f fakeStreams) StreamHeartbeats(stream grpc.BidiStreamingServer[streamRequest, streamResponse]) error {
	if err := f.gc.record(stream.Context(), receivedCall{method: methodStream, stream: true}); err != nil {
		return err
	}

	f.gc.mu.Lock()
	ended := f.gc.ended
	f.gc.mu.Unlock()
	if err := stream.SendHeader(nil); err != nil {
		return err
	}

	served := make(chan error, 1)
	go func() { served <- f.serve(stream) }()
	select {
	case err := <-served:
		return err
	case <-ended:
		f.gc.mu.Lock()
		defer f.gc.mu.Unlock()
		return f.gc.endErr
	}
}

func (f fakeStreams) serve(stream grpc.BidiStreamingServer[streamRequest, streamResponse]) error {
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}

		var s receivedCall
		switch heartbeat := in.GetHeartbeat().(type) {
		case *globalcontrollerv1.StreamHeartbeatsRequest_Fast:
			s = fastCall(heartbeat.Fast)
		case *globalcontrollerv1.StreamHeartbeatsRequest_Comprehensive:
			s = comprehensiveCall(heartbeat.Comprehensive)
		}
		s.stream = true

		// A response without a request, which the client must drop.
		if err := stream.Send(&streamResponse{Sequence: in.GetSequence() + 1000, Code: int32(codes.NotFound)}); err != nil {
			return err
		}

		switch err := f.gc.record(stream.Context(), s); {
		case errors.Is(err, errEndStream):
			return status.Error(codes.Unavailable, "Server is stopping")
		case errors.Is(err, errEndStreamCleanly):
			return nil
		case errors.Is(err, errNoResponse):
		case err != nil:
			s := status.Convert(err)
			err = stream.Send(&streamResponse{
				Sequence:     in.GetSequence(),
				Code:         int32(s.Code()),
				Message:      s.Message(),
				RetryAfterMs: 7,
			})
			if err != nil {
				return err
			}
		default:
			fast, comprehensive := f.gc.intervalsMS()

			for range 2 { // The client must drop the second one.
				err = stream.Send(&streamResponse{
					Sequence:                         in.GetSequence(),
					Acknowledged:                     true,
					FastHeartbeatIntervalMs:          fast,
					ComprehensiveHeartbeatIntervalMs: comprehensive,
				})
				if err != nil {
					return err
				}
			}
		}
	}
}

// waitForCall waits for a call that matches.
func (gc *fakeGlobalController) waitForCall(t *testing.T, what string, matches func(receivedCall) bool) receivedCall {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		select {
		case s := <-gc.calls:
			if matches(s) {
				return s
			}
		case <-timeout:
			t.Fatalf("timeout while waiting for %s", what)
		}
	}
}

func hasMethod(name string) func(receivedCall) bool {
	return func(s receivedCall) bool { return s.method == name }
}

func isDraining(s receivedCall) bool {
	return s.health == darktowerv1.HealthStatus_HEALTH_STATUS_DRAINING
}

func isHeartbeat(s receivedCall) bool {
	return s.method == methodFast || s.method == methodComprehensive
}

// fakeNetwork has addresses whose servers start and stop. On a real network, another test may get the port in between.
type fakeNetwork struct {
	mu      sync.Mutex
	servers map[string]string
}

// The addresses of a fakeNetwork, from a range that is reserved for documentation.
const (
	northAddress = "192.0.2.1:1"
	southAddress = "192.0.2.2:1"
)

func (n *fakeNetwork) put(address string, gc *fakeGlobalController) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.servers[address] = gc.address
}

// stop stops the server at the address.
func (n *fakeNetwork) stop(address string, gc *fakeGlobalController) {
	n.mu.Lock()
	delete(n.servers, address)
	n.mu.Unlock()
	gc.server.Stop()
}

func (n *fakeNetwork) dial(ctx context.Context, address string) (net.Conn, error) {
	n.mu.Lock()
	server, ok := n.servers[address]
	n.mu.Unlock()
	if !ok {
		return nil, syscall.ECONNREFUSED
	}
	return new(net.Dialer).DialContext(ctx, "tcp", server)
}

// connectOverNetwork makes the client of cfg use a network that only it has.
func connectOverNetwork(t *testing.T, cfg *Config, addresses ...string) *fakeNetwork {
	t.Helper()
	n := &fakeNetwork{servers: make(map[string]string)}
	connection, err := newConnection(addresses, nil, connectTimeout, grpc.WithContextDialer(n.dial))
	if err != nil {
		t.Fatalf("newConnection() = %v", err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	cfg.Addresses, cfg.Connection = nil, connection
	return n
}
