package mcclient

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "darktower.example/global-controller/proto/darktower/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeController is a meeting controller that records its calls.
type fakeController struct {
	pb.UnimplementedMeetingControllerServiceServer
	handle func(ctx context.Context, r *pb.AssignMeetingWithMhRequest) (*pb.AssignMeetingWithMhResponse, error)

	mu     sync.Mutex
	tokens []string
}

func (f *fakeController) AssignMeetingWithMh(
	ctx context.Context, r *pb.AssignMeetingWithMhRequest,
) (*pb.AssignMeetingWithMhResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	f.mu.Lock()
	f.tokens = append(f.tokens, md.Get("authorization")...)
	f.mu.Unlock()
	return f.handle(ctx, r)
}

func (f *fakeController) calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.tokens)
}

// start serves the controller and returns its endpoint.
func start(t *testing.T, f *fakeController) (endpoint string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	pb.RegisterMeetingControllerServiceServer(server, f)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return "http://" + listener.Addr().String()
}

func newClient(t *testing.T, cfg Config) *Client {
	t.Helper()
	if cfg.Token == nil {
		cfg.Token = func(context.Context) (string, error) { return "secret", nil }
	}
	if cfg.Hosts.names == nil {
		cfg.Hosts = mustParse(t, "")
	}
	c := New(cfg)
	t.Cleanup(c.Close)
	return c
}

// handler responds to the calls of a fakeController.
type handler func(context.Context, *pb.AssignMeetingWithMhRequest) (*pb.AssignMeetingWithMhResponse, error)

func TestClient_Outcomes(t *testing.T) {
	t.Parallel()
	response := func(accepted bool, reason pb.RejectionReason) handler {
		return func(context.Context, *pb.AssignMeetingWithMhRequest) (*pb.AssignMeetingWithMhResponse, error) {
			return &pb.AssignMeetingWithMhResponse{Accepted: accepted, RejectionReason: reason}, nil
		}
	}
	for _, tc := range []struct {
		name   string
		handle handler
		want   AssignResult
	}{
		{"accepted", response(true, 0), AssignResult{Outcome: OutcomeAccepted}},
		{
			"rejected",
			response(false, pb.RejectionReason_REJECTION_REASON_AT_CAPACITY),
			AssignResult{Outcome: OutcomeRejected, Reason: pb.RejectionReason_REJECTION_REASON_AT_CAPACITY},
		},
		{
			"hangs",
			func(ctx context.Context, _ *pb.AssignMeetingWithMhRequest) (*pb.AssignMeetingWithMhResponse, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			},
			AssignResult{Outcome: OutcomeUnknown},
		},
		{
			"fails",
			func(context.Context, *pb.AssignMeetingWithMhRequest) (*pb.AssignMeetingWithMhResponse, error) {
				return nil, status.Error(codes.Internal, "no")
			},
			AssignResult{Outcome: OutcomeUnknown},
		},
		{
			"refuses the token",
			func(context.Context, *pb.AssignMeetingWithMhRequest) (*pb.AssignMeetingWithMhResponse, error) {
				return nil, status.Error(codes.Unauthenticated, "no")
			},
			AssignResult{Outcome: OutcomeNotSent},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := &fakeController{handle: tc.handle}
			c := newClient(t, Config{CallTimeout: 200 * time.Millisecond})
			got := c.AssignMeeting(t.Context(), start(t, f), &pb.AssignMeetingWithMhRequest{MeetingId: "m"})
			if got.Outcome != tc.want.Outcome || got.Reason != tc.want.Reason || f.calls() != 1 {
				t.Errorf("AssignMeeting() = %+v after %d calls, want %+v after one", got, f.calls(), tc.want)
			}
		})
	}
}

func TestClient_NothingListens(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	endpoint := "http://" + listener.Addr().String()
	_ = listener.Close()

	got := newClient(t, Config{}).AssignMeeting(t.Context(), endpoint, &pb.AssignMeetingWithMhRequest{MeetingId: "m"})
	if got.Outcome != OutcomeNotSent {
		t.Errorf("AssignMeeting() = %+v, want OutcomeNotSent", got)
	}
}

func TestClient_ResetWhileCalling(t *testing.T) {
	t.Parallel()
	var server *grpc.Server
	f := &fakeController{}
	f.handle = func(context.Context, *pb.AssignMeetingWithMhRequest) (*pb.AssignMeetingWithMhResponse, error) {
		server.Stop()
		return nil, errors.New("stopped")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server = grpc.NewServer()
	pb.RegisterMeetingControllerServiceServer(server, f)
	go func() { _ = server.Serve(listener) }()

	endpoint := "http://" + listener.Addr().String()
	got := newClient(t, Config{}).AssignMeeting(t.Context(), endpoint, &pb.AssignMeetingWithMhRequest{MeetingId: "m"})
	if got.Outcome != OutcomeUnknown || f.calls() != 1 {
		t.Errorf("AssignMeeting() = %+v after %d calls, want OutcomeUnknown after one", got, f.calls())
	}
}

func TestClient_NoTokenToOtherHosts(t *testing.T) {
	t.Parallel()
	f := &fakeController{handle: func(context.Context, *pb.AssignMeetingWithMhRequest) (*pb.AssignMeetingWithMhResponse, error) {
		return &pb.AssignMeetingWithMhResponse{Accepted: true}, nil
	}}
	endpoint := start(t, f)
	_, port, _ := net.SplitHostPort(endpoint[len("http://"):])

	for _, tc := range []struct{ list, endpoint string }{
		{"10.1.0.0/16", endpoint},                        // loopback, not listed
		{"10.1.0.0/16", "http://169.254.169.254"},        // cloud metadata
		{"mc.example", "http://mc.example:" + port},      // a name that resolves to loopback
		{"127.0.0.1", "http://user@127.0.0.1:" + port},   // user info
		{"127.0.0.1", "https://127.0.0.1:" + port},       // plaintext behind https
		{"127.0.0.1", "http://127.0.0.1:" + port + "/x"}, // a path
	} {
		c := newClient(t, Config{
			Hosts:          mustParse(t, tc.list),
			Resolver:       fixedResolver{"127.0.0.1"},
			ConnectTimeout: 500 * time.Millisecond,
		})
		if got := c.AssignMeeting(t.Context(), tc.endpoint, &pb.AssignMeetingWithMhRequest{}); got.Outcome != OutcomeNotSent {
			t.Errorf("AssignMeeting(%s) with %s = %+v, want OutcomeNotSent", tc.endpoint, tc.list, got)
		}
	}
	if f.calls() != 0 {
		t.Errorf("the controller got %d calls, want none", f.calls())
	}
}

// rebindingResolver returns an ordinary address first and a special one afterwards.
type rebindingResolver struct {
	mu      sync.Mutex
	lookups int
}

func (r *rebindingResolver) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lookups++
	if r.lookups == 1 {
		return []netip.Addr{netip.MustParseAddr("203.0.113.1")}, nil
	}
	return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
}

func TestClient_DNSRebinding(t *testing.T) {
	t.Parallel()
	f := &fakeController{handle: func(context.Context, *pb.AssignMeetingWithMhRequest) (*pb.AssignMeetingWithMhResponse, error) {
		return &pb.AssignMeetingWithMhResponse{Accepted: true}, nil
	}}
	_, port, _ := net.SplitHostPort(start(t, f)[len("http://"):])
	resolver := &rebindingResolver{lookups: 1}
	c := newClient(t, Config{Hosts: mustParse(t, "mc.example"), Resolver: resolver, ConnectTimeout: 300 * time.Millisecond})
	for range 3 {
		got := c.AssignMeeting(t.Context(), "http://mc.example:"+port, &pb.AssignMeetingWithMhRequest{})
		if got.Outcome != OutcomeNotSent {
			t.Errorf("AssignMeeting() = %+v, want OutcomeNotSent", got)
		}
	}
	if f.calls() != 0 {
		t.Errorf("the controller got %d calls, want none", f.calls())
	}
}

func TestClient_EvictsIdleConnections(t *testing.T) {
	t.Parallel()
	f := &fakeController{handle: func(context.Context, *pb.AssignMeetingWithMhRequest) (*pb.AssignMeetingWithMhResponse, error) {
		return &pb.AssignMeetingWithMhResponse{Accepted: true}, nil
	}}
	now := time.Now()
	c := newClient(t, Config{Now: func() time.Time { return now }})
	first, second := start(t, f), start(t, f)
	for _, endpoint := range []string{first, first, second} {
		if got := c.AssignMeeting(t.Context(), endpoint, &pb.AssignMeetingWithMhRequest{MeetingId: "m"}); got.Outcome != OutcomeAccepted {
			t.Fatalf("AssignMeeting() = %+v", got)
		}
	}
	if got := len(c.peers); got != 2 {
		t.Errorf("%d connections, want one for each endpoint", got)
	}

	now = now.Add(idleTimeout + time.Second)
	if got := c.AssignMeeting(t.Context(), start(t, f), &pb.AssignMeetingWithMhRequest{MeetingId: "m"}); got.Outcome != OutcomeAccepted {
		t.Fatalf("AssignMeeting() = %+v", got)
	}
	if got := len(c.peers); got != 1 {
		t.Errorf("%d connections after the idle timeout, want the new one only", got)
	}
}
