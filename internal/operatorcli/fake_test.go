package operatorcli

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testTimeout limits how long a test waits for a condition.
const testTimeout = 30 * time.Second

// fakeGlobalController is a Global Controller whose watches follow scripts. It records their requests.
type fakeGlobalController struct {
	pb.UnimplementedFleetServiceServer
	mu      sync.Mutex
	watches []*pb.WatchRequest
	scripts []script
	fleet   []*pb.Controller
}

// script is what a watch sends, and the error that ends it. Without an error, the watch stays open.
type script struct {
	send []*pb.WatchResponse
	end  error
}

func (f *fakeGlobalController) Watch(in *pb.WatchRequest, stream grpc.ServerStreamingServer[pb.WatchResponse]) error {
	f.mu.Lock()
	f.watches = append(f.watches, in)
	s := script{}
	if len(f.scripts) > 0 {
		s, f.scripts = f.scripts[0], f.scripts[1:]
	}
	f.mu.Unlock()

	for _, response := range s.send {
		if err := stream.Send(response); err != nil {
			return err
		}
	}
	if s.end == nil {
		<-stream.Context().Done()
	}
	return s.end
}

func (f *fakeGlobalController) ListControllers(context.Context, *pb.ListControllersRequest) (*pb.ListControllersResponse, error) {
	return &pb.ListControllersResponse{Controllers: f.fleet}, nil
}

func (f *fakeGlobalController) GetController(_ context.Context, in *pb.GetControllerRequest) (*pb.GetControllerResponse, error) {
	for _, c := range f.fleet {
		if c.GetControllerId() == in.GetControllerId() {
			return &pb.GetControllerResponse{Controller: c}, nil
		}
	}
	return nil, status.Error(codes.NotFound, "Controller not registered")
}

// watchRequests returns the requests of all watches until now.
func (f *fakeGlobalController) watchRequests() []*pb.WatchRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]*pb.WatchRequest(nil), f.watches...)
}

// countingTokens counts how many tokens were rejected.
type countingTokens struct {
	mu       sync.Mutex
	rejected int
}

func (c *countingTokens) Token(context.Context) (string, error) { return "token", nil }

func (c *countingTokens) Invalidate(string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rejected++
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// fixture is a connection to a fake, and the output of the commands that use it.
type fixture struct {
	t         *testing.T
	conn      *connection
	tokens    *countingTokens
	out, errs *lockedBuffer
}

func newFixture(t *testing.T, gc pb.FleetServiceServer) *fixture {
	t.Helper()
	f := &fixture{t: t, tokens: &countingTokens{}, out: &lockedBuffer{}, errs: &lockedBuffer{}}
	conn := dialFake(t, gc)

	c := &cli{
		Process: Process{
			In:   strings.NewReader(""),
			Out:  f.out,
			Err:  f.errs,
			Env:  func(string) string { return "" },
			Now:  time.Now,
			Size: func() (int, int) { return 100, 20 },
		},
		flags: connectionFlags{timeout: testTimeout, color: "never"},
	}

	f.conn = &connection{
		cli:    c,
		target: target{address: "gc:1"},
		conn:   conn,
		fleet:  pb.NewFleetServiceClient(conn),
		tokens: f.tokens,
		close:  func() {},
	}
	return f
}

// dialFake serves a fake in memory until the test ends, and connects to it.
func dialFake(t *testing.T, gc pb.FleetServiceServer) *grpc.ClientConn {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer()
	pb.RegisterFleetServiceServer(server, gc)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Errorf("Serve() = %v", err)
		}
	})

	conn, err := grpc.NewClient("passthrough:///gc", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// startWatch runs fleet ls --watch. The returned function interrupts it and returns its error.
func (f *fixture) startWatch(o fleetListOptions) (interrupt func() error) {
	f.t.Helper()
	o.sort = "id"
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.conn.cli.watchFleet(ctx, f.conn, o) }()
	f.t.Cleanup(cancel)
	return func() error {
		cancel()
		return <-ended
	}
}

func (f *fixture) waitUntil(what string, isTrue func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(testTimeout); !isTrue(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatalf("%s: not within %v\n%s%s", what, testTimeout, f.out, f.errs)
		}
	}
}

func testTime() *timestamppb.Timestamp { return timestamppb.New(time.Unix(1e9, 0)) }

func newController(id string, health pb.Health) *pb.Controller {
	return &pb.Controller{
		ControllerId:    id,
		Region:          "eu",
		Health:          health,
		MaxMeetings:     100,
		MaxParticipants: 1000,
		AsOf:            testTime(),
	}
}

func newSnapshot(id uint64, reason string, controllers ...*pb.Controller) *pb.WatchResponse {
	return &pb.WatchResponse{Id: id, AsOf: testTime(), Event: &pb.WatchResponse_Snapshot{
		Snapshot: &pb.Snapshot{Begin: true, End: true, Reason: reason, Controllers: controllers},
	}}
}

func newChanges(id uint64, changes ...*pb.Change) *pb.WatchResponse {
	return &pb.WatchResponse{Id: id, AsOf: testTime(), Event: &pb.WatchResponse_Changes{Changes: &pb.Changes{Changes: changes}}}
}

// newTransition returns a change of a controller from a state to its present one.
func newTransition(id uint64, c *pb.Controller, from pb.Health) *pb.Change {
	return &pb.Change{ControllerId: c.GetControllerId(), Controller: c, Transition: &pb.Transition{
		Id:           id,
		ControllerId: c.GetControllerId(),
		Region:       "eu",
		From:         from,
		To:           c.GetHealth(),
		Cause:        "heartbeat",
		At:           testTime(),
	}}
}
