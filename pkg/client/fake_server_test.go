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

// fakeGC is a Global Controller that answers as it is told to.
type fakeGC struct {
	darktowerv1.UnimplementedGlobalControllerServiceServer
	address string
	server  *grpc.Server
	calls   chan seen // All that arrive; tests read along.

	mu     sync.Mutex
	answer func(seen) error // nil: all is well.
	pace   Intervals
	// ended is closed to end the streams, with endErr.
	ended  chan struct{}
	endErr error
}

// seen is a call that arrived.
type seen struct {
	method string
	token  string
	stream bool
	health darktowerv1.HealthStatus
	load   *darktowerv1.ControllerCapacity
	cpu    float32
	id     string
	// incarnation as sent.
	incarnation string
}

// startGC serves on a port of its own. Streams are offered when streams is true.
func startGC(t *testing.T, streams bool) *fakeGC {
	t.Helper()
	gc := &fakeGC{
		server: grpc.NewServer(), calls: make(chan seen, 10_000), ended: make(chan struct{}),
		pace: Intervals{20 * time.Millisecond, time.Minute},
	}
	darktowerv1.RegisterGlobalControllerServiceServer(gc.server, gc)
	globalcontrollerv1.RegisterFleetServiceServer(gc.server, fakeFleet{gc: gc})
	if streams {
		globalcontrollerv1.RegisterHeartbeatServiceServer(gc.server, fakeStreams{gc: gc})
	}
	gc.address = serve(t, gc.server)
	return gc
}

// answers has calls answered so from now on.
func (gc *fakeGC) answers(answer func(seen) error) {
	gc.mu.Lock()
	defer gc.mu.Unlock()
	gc.answer = answer
}

// endStreams ends all streams there are.
func (gc *fakeGC) endStreams(err error) {
	gc.mu.Lock()
	defer gc.mu.Unlock()
	gc.endErr = err
	close(gc.ended)
	gc.ended = make(chan struct{})
}

func (gc *fakeGC) take(ctx context.Context, s seen) error {
	md, _ := metadata.FromIncomingContext(ctx)
	if values := md.Get("authorization"); len(values) == 1 {
		s.token = values[0]
	}
	gc.mu.Lock()
	answer := gc.answer
	gc.mu.Unlock()
	var err error
	if answer != nil {
		err = answer(s)
	}
	select {
	case gc.calls <- s:
	default:
	}
	return err
}

func (gc *fakeGC) intervals() (fast, comprehensive uint64) {
	gc.mu.Lock()
	defer gc.mu.Unlock()
	return uint64(gc.pace.Fast.Milliseconds()), uint64(gc.pace.Comprehensive.Milliseconds())
}

func (gc *fakeGC) RegisterMC(ctx context.Context, in *darktowerv1.RegisterMCRequest) (*darktowerv1.RegisterMCResponse, error) {
	fast, comprehensive := gc.intervals()
	return &darktowerv1.RegisterMCResponse{Accepted: true, FastHeartbeatIntervalMs: fast, ComprehensiveHeartbeatIntervalMs: comprehensive},
		gc.take(ctx, seen{method: methodRegister, id: in.GetId(), incarnation: in.GetIncarnation()})
}

func (gc *fakeGC) FastHeartbeat(ctx context.Context, in *darktowerv1.FastHeartbeatRequest) (*darktowerv1.FastHeartbeatResponse, error) {
	return &darktowerv1.FastHeartbeatResponse{Acknowledged: true}, gc.take(ctx, fastSeen(in))
}

func (gc *fakeGC) ComprehensiveHeartbeat(ctx context.Context, in *darktowerv1.ComprehensiveHeartbeatRequest) (*darktowerv1.ComprehensiveHeartbeatResponse, error) {
	return &darktowerv1.ComprehensiveHeartbeatResponse{Acknowledged: true}, gc.take(ctx, comprehensiveSeen(in))
}

func fastSeen(in *darktowerv1.FastHeartbeatRequest) seen {
	return seen{method: methodFast, id: in.GetControllerId(), health: in.GetHealth(), load: in.GetCapacity(), incarnation: in.GetIncarnation()}
}

func comprehensiveSeen(in *darktowerv1.ComprehensiveHeartbeatRequest) seen {
	return seen{
		method: methodComprehensive, id: in.GetControllerId(), health: in.GetHealth(), load: in.GetCapacity(),
		cpu: in.GetCpuUsagePercent(), incarnation: in.GetIncarnation(),
	}
}

type fakeFleet struct {
	globalcontrollerv1.UnimplementedFleetServiceServer
	gc *fakeGC
}

func (f fakeFleet) Deregister(ctx context.Context, in *globalcontrollerv1.DeregisterRequest) (*globalcontrollerv1.DeregisterResponse, error) {
	return &globalcontrollerv1.DeregisterResponse{}, f.gc.take(ctx, seen{method: methodDeregister, id: in.GetControllerId(), incarnation: in.GetIncarnation()})
}

type fakeStreams struct {
	globalcontrollerv1.UnimplementedHeartbeatServiceServer
	gc *fakeGC
}

// errEnd and errQuit have a stream ended instead of a heartbeat answered, errMute has it left unanswered.
var (
	errEnd  = errors.New("end")
	errQuit = errors.New("quit")
	errMute = errors.New("mute")
)

func (f fakeStreams) StreamHeartbeats(stream grpc.BidiStreamingServer[streamRequest, streamResponse]) error {
	if err := f.gc.take(stream.Context(), seen{method: methodStream, stream: true}); err != nil {
		return err
	}
	f.gc.mu.Lock()
	ended := f.gc.ended
	f.gc.mu.Unlock()
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	over := make(chan error, 1)
	go func() { over <- f.serve(stream) }()
	select {
	case err := <-over:
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
		var s seen
		switch beat := in.GetHeartbeat().(type) {
		case *globalcontrollerv1.StreamHeartbeatsRequest_Fast:
			s = fastSeen(beat.Fast)
		case *globalcontrollerv1.StreamHeartbeatsRequest_Comprehensive:
			s = comprehensiveSeen(beat.Comprehensive)
		}
		s.stream = true
		// An answer that nobody waits for, which must do no harm.
		if err := stream.Send(&streamResponse{Sequence: in.GetSequence() + 1000, Code: int32(codes.NotFound)}); err != nil {
			return err
		}
		switch err := f.gc.take(stream.Context(), s); {
		case errors.Is(err, errEnd):
			return status.Error(codes.Unavailable, "The server is stopping")
		case errors.Is(err, errQuit):
			return nil
		case errors.Is(err, errMute):
		case err != nil:
			s := status.Convert(err)
			err = stream.Send(&streamResponse{Sequence: in.GetSequence(), Code: int32(s.Code()), Message: s.Message(), RetryAfterMs: 7})
			if err != nil {
				return err
			}
		default:
			fast, comprehensive := f.gc.intervals()
			for range 2 { // The second one must do no harm either.
				err = stream.Send(&streamResponse{Sequence: in.GetSequence(), Acknowledged: true, FastHeartbeatIntervalMs: fast, ComprehensiveHeartbeatIntervalMs: comprehensive})
				if err != nil {
					return err
				}
			}
		}
	}
}

// next waits for a call that fits.
func (gc *fakeGC) next(t *testing.T, what string, fits func(seen) bool) seen {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		select {
		case s := <-gc.calls:
			if fits(s) {
				return s
			}
		case <-timeout:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func method(name string) func(seen) bool { return func(s seen) bool { return s.method == name } }

func isHeartbeat(s seen) bool { return s.method == methodFast || s.method == methodComprehensive }

// network has addresses where servers come and go: on a real one another test may take the port in between.
type network struct {
	mu      sync.Mutex
	servers map[string]string
}

// The addresses that a network may have. Nobody else has them.
const (
	northAddress = "192.0.2.1:1"
	southAddress = "192.0.2.2:1"
)

func (n *network) put(address string, gc *fakeGC) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.servers[address] = gc.address
}

// stop stops the server at the address.
func (n *network) stop(address string, gc *fakeGC) {
	n.mu.Lock()
	delete(n.servers, address)
	n.mu.Unlock()
	gc.server.Stop()
}

func (n *network) dial(ctx context.Context, address string) (net.Conn, error) {
	n.mu.Lock()
	server, ok := n.servers[address]
	n.mu.Unlock()
	if !ok {
		return nil, syscall.ECONNREFUSED
	}
	return new(net.Dialer).DialContext(ctx, "tcp", server)
}

// join has a client's connection go over a network of its own.
func join(t *testing.T, cfg *Config, addresses ...string) *network {
	t.Helper()
	n := &network{servers: make(map[string]string)}
	connection, err := newConnection(addresses, nil, connectTimeout, grpc.WithContextDialer(n.dial))
	if err != nil {
		t.Fatalf("newConnection() = %v", err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	cfg.Addresses, cfg.Connection = nil, connection
	return n
}
