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

const patience = 30 * time.Second

// fakeGC plays one script after another to those who watch, and keeps what they asked.
type fakeGC struct {
	pb.UnimplementedFleetServiceServer
	mu      sync.Mutex
	asked   []*pb.WatchRequest
	scripts []script
	fleet   []*pb.Controller
}

// script is what a watch is sent, and how it ends; nil: it does not.
type script struct {
	send []*pb.WatchResponse
	end  error
}

func (f *fakeGC) Watch(in *pb.WatchRequest, stream grpc.ServerStreamingServer[pb.WatchResponse]) error {
	f.mu.Lock()
	f.asked = append(f.asked, in)
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

func (f *fakeGC) ListControllers(context.Context, *pb.ListControllersRequest) (*pb.ListControllersResponse, error) {
	return &pb.ListControllersResponse{Controllers: f.fleet}, nil
}

func (f *fakeGC) GetController(_ context.Context, in *pb.GetControllerRequest) (*pb.GetControllerResponse, error) {
	for _, c := range f.fleet {
		if c.GetControllerId() == in.GetControllerId() {
			return &pb.GetControllerResponse{Controller: c}, nil
		}
	}
	return nil, status.Error(codes.NotFound, "Controller not registered")
}

func (f *fakeGC) requests() []*pb.WatchRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]*pb.WatchRequest(nil), f.asked...)
}

// manyTokens counts how often a token was refused.
type manyTokens struct {
	mu      sync.Mutex
	refused int
}

func (m *manyTokens) Token(context.Context) (string, error) { return "token", nil }
func (m *manyTokens) Invalidate(string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refused++
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

// bench is a session with a fake.
type bench struct {
	t         *testing.T
	gc        *fakeGC
	session   *session
	tokens    *manyTokens
	out, errs *lockedBuffer
}

func newBench(t *testing.T, gc *fakeGC) *bench {
	t.Helper()
	b := newBenchWith(t, gc)
	b.gc = gc
	return b
}

func newBenchWith(t *testing.T, gc pb.FleetServiceServer) *bench {
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
	b := &bench{t: t, tokens: &manyTokens{}, out: &lockedBuffer{}, errs: &lockedBuffer{}}
	tool := &tool{Process: Process{
		In: strings.NewReader(""), Out: b.out, Err: b.errs, Env: func(string) string { return "" }, Now: time.Now, Size: func() (int, int) { return 100, 20 },
	}, flags: targetFlags{timeout: patience, color: "never"}}
	b.session = &session{tool: tool, target: target{address: "gc:1"}, conn: conn, fleet: pb.NewFleetServiceClient(conn), tokens: b.tokens, close: func() {}}
	return b
}

// watch runs fleet ls --watch until it ends, or the returned function ends it.
func (b *bench) watch(o listOptions) (end func() error) {
	b.t.Helper()
	o.sort = "id"
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.session.tool.watchFleet(ctx, b.session, o) }()
	b.t.Cleanup(cancel)
	return func() error {
		cancel()
		return <-ended
	}
}

func (b *bench) until(what string, holds func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("%s: not within %v\n%s%s", what, patience, b.out, b.errs)
		}
	}
}

func controller(id string, health pb.Health) *pb.Controller {
	return &pb.Controller{ControllerId: id, Region: "eu", Health: health, MaxMeetings: 100, MaxParticipants: 1000, AsOf: timestamppb.New(time.Unix(1e9, 0))}
}

func snapshot(id uint64, reason string, controllers ...*pb.Controller) *pb.WatchResponse {
	return &pb.WatchResponse{Id: id, AsOf: timestamppb.New(time.Unix(1e9, 0)), Event: &pb.WatchResponse_Snapshot{
		Snapshot: &pb.Snapshot{Begin: true, End: true, Reason: reason, Controllers: controllers},
	}}
}

func changes(id uint64, all ...*pb.Change) *pb.WatchResponse {
	return &pb.WatchResponse{Id: id, AsOf: timestamppb.New(time.Unix(1e9, 0)), Event: &pb.WatchResponse_Changes{Changes: &pb.Changes{Changes: all}}}
}

func transition(number uint64, c *pb.Controller, from pb.Health) *pb.Change {
	return &pb.Change{ControllerId: c.GetControllerId(), Controller: c, Transition: &pb.Transition{
		Id: number, ControllerId: c.GetControllerId(), Region: "eu", From: from, To: c.GetHealth(), Cause: "heartbeat", At: timestamppb.New(time.Unix(1e9, 0)),
	}}
}
