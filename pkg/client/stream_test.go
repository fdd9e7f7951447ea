package client

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	darktowerv1 "darktower.example/global-controller/proto/darktower/v1"
)

// fakeTokens is a source with a list of tokens.
type fakeTokens struct {
	mu      sync.Mutex
	tokens  []string // The first one is current.
	refused []string
	err     error
}

func (f *fakeTokens) Token(context.Context) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tokens[0], f.err
}

func (f *fakeTokens) Invalidate(token string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refused = append(f.refused, token)
	if token == f.tokens[0] && len(f.tokens) > 1 {
		f.tokens = f.tokens[1:]
	}
}

func (f *fakeTokens) renew() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tokens = f.tokens[1:]
}

// newTestTransport returns a transport that a test calls directly.
func newTestTransport(t *testing.T, cfg Config, connection *Connection) *grpcTransport {
	t.Helper()
	if connection != nil {
		cfg.Connection, cfg.Addresses = connection, nil
	}
	client, err := New(cfg)
	if err != nil {
		t.Fatalf("New() = %v", err)
	}

	if connection == nil {
		if connection, err = NewConnection(cfg.Addresses, nil); err != nil {
			t.Fatalf("NewConnection() = %v", err)
		}
		t.Cleanup(func() { _ = connection.Close() })
	}

	transport := newGRPCTransport(&client.cfg, connection)
	t.Cleanup(transport.close)
	return transport
}

func checkHeartbeat(t *testing.T, transport *grpcTransport, want codes.Code) {
	t.Helper()
	_ = checkHeartbeatErr(t, transport, want)
}

// checkHeartbeatErr also returns the error.
func checkHeartbeatErr(t *testing.T, transport *grpcTransport, want codes.Code) error {
	t.Helper()
	_, err := transport.heartbeat(t.Context(), heartbeatReport{})
	if got := codeOf(err); got != want {
		t.Errorf("heartbeat = %v, want %v", err, want)
	}
	return err
}

// takeStreams counts the streams that have been opened, and removes all calls that have arrived.
func (gc *fakeGlobalController) takeStreams() (streams int, tokens []string) {
	for len(gc.calls) > 0 {
		if s := <-gc.calls; s.method == methodStream {
			streams++
			tokens = append(tokens, s.token)
		}
	}
	return streams, tokens
}

func TestStream_EndBetweenHeartbeatsIsNoFailure(t *testing.T) {
	t.Parallel()
	for _, end := range []error{
		nil,
		status.Error(codes.Unavailable, "Server is stopping"),
		status.Error(codes.Unauthenticated, "Invalid token"),
	} {
		t.Run(codeOf(newFailure(context.Background(), end)).String(), func(t *testing.T) {
			t.Parallel()
			gc := startGlobalController(t, true)
			cfg := testConfig(gc.address)
			tokens := &fakeTokens{tokens: []string{"t1", "t2"}}
			cfg.Tokens = tokens
			var calls []Call
			cfg.OnCall = func(c Call) { calls = append(calls, c) }
			transport := newTestTransport(t, cfg, nil)

			checkHeartbeat(t, transport, codes.OK)
			stream := transport.stream
			gc.endStreams(end)
			<-stream.done
			checkHeartbeat(t, transport, codes.OK)
			if len(calls) != 2 {
				t.Errorf("%d attempts, want one for each heartbeat: %v", len(calls), calls)
			}

			want := "Bearer t1"
			if status.Code(end) == codes.Unauthenticated {
				want = "Bearer t2"
			}
			if n, with := gc.takeStreams(); n != 2 || with[1] != want {
				t.Errorf("opened streams with %v, want two and the second with %s", with, want)
			}
		})
	}
}

func TestStream_BrokenStreamIsRetriedOnce(t *testing.T) {
	t.Parallel()
	gc := startGlobalController(t, true)
	transport := newTestTransport(t, testConfig(gc.address), nil)
	checkHeartbeat(t, transport, codes.OK)
	ends := 1
	gc.setResponse(func(s receivedCall) error {
		if ends > 0 && isHeartbeat(s) {
			ends--
			return errEndStream
		}
		return nil
	})

	checkHeartbeat(t, transport, codes.OK) // Over a second stream.
	gc.setResponse(func(s receivedCall) error {
		if isHeartbeat(s) {
			return errEndStream
		}
		return nil
	})

	if err := checkHeartbeatErr(t, transport, codes.Unavailable); err.Error() != "Unavailable: Server is stopping" {
		t.Errorf("heartbeat = %v", err)
	}
	if n, _ := gc.takeStreams(); n != 3 {
		t.Errorf("opened %d streams, want 3", n)
	}

	checkHeartbeat(t, transport, codes.Unavailable)
	gc.setResponse(func(s receivedCall) error {
		if isHeartbeat(s) {
			return errEndStreamCleanly
		}
		return nil
	})

	checkHeartbeat(t, transport, codes.Unavailable)
	if n, _ := gc.takeStreams(); n != 2 {
		t.Errorf("opened %d streams for two failed heartbeats, want 2", n)
	}
}

func TestStream_NewStreamThatEndsIsNotRetried(t *testing.T) {
	t.Parallel()
	gc := startGlobalController(t, true)
	transport := newTestTransport(t, testConfig(gc.address), nil)
	gc.setResponse(func(s receivedCall) error {
		if isHeartbeat(s) {
			return errEndStream
		}
		return nil
	})
	checkHeartbeat(t, transport, codes.Unavailable)
	if n, _ := gc.takeStreams(); n != 1 {
		t.Errorf("opened %d streams, want 1: the stream was new", n)
	}
}

func TestStream_FollowsTheConnection(t *testing.T) {
	t.Parallel()
	first, second := startGlobalController(t, true), startGlobalController(t, true)
	transport := newTestTransport(t, testConfig(first.address, second.address), nil)
	checkHeartbeat(t, transport, codes.OK)
	transport.connection.replaceLink(transport.stream.link) // As another client of the connection would.
	checkHeartbeat(t, transport, codes.OK)
	if n, _ := second.takeStreams(); n != 1 || len(transport.connection.openLinks) != 1 {
		t.Errorf("opened %d streams at the second, with %d links, want one of each", n, len(transport.connection.openLinks))
	}
}

func TestStream_TimeoutEndsIt(t *testing.T) {
	t.Parallel()
	gc := startGlobalController(t, true)
	cfg := testConfig(gc.address)
	cfg.CallTimeout = 100 * time.Millisecond
	transport := newTestTransport(t, cfg, nil)
	checkHeartbeat(t, transport, codes.OK)
	gc.setResponse(func(receivedCall) error { return errNoResponse })
	checkHeartbeat(t, transport, codes.DeadlineExceeded)
	if transport.stream != nil {
		t.Error("the stream is still open")
	}

	gc.setResponse(nil)
	checkHeartbeat(t, transport, codes.OK)
	ctx, cancel := context.WithCancel(t.Context())
	gc.setResponse(func(receivedCall) error {
		cancel()
		return errNoResponse
	})
	if _, err := transport.heartbeat(ctx, heartbeatReport{}); codeOf(err) != codes.Canceled || !errors.Is(err, context.Canceled) {
		t.Errorf("heartbeat = %v, want canceled", err)
	}
}

func TestStream_RenewedTokenOpensAnother(t *testing.T) {
	t.Parallel()
	gc := startGlobalController(t, true)
	cfg := testConfig(gc.address)
	tokens := &fakeTokens{tokens: []string{"t1", "t2"}}
	cfg.Tokens = tokens
	transport := newTestTransport(t, cfg, nil)

	checkHeartbeat(t, transport, codes.OK)
	checkHeartbeat(t, transport, codes.OK)

	tokens.renew()
	checkHeartbeat(t, transport, codes.OK)
	checkHeartbeat(t, transport, codes.OK)
	if n, with := gc.takeStreams(); n != 2 || with[1] != "Bearer t2" {
		t.Errorf("opened streams with %v, want t1 and t2", with)
	}
	if len(tokens.refused) > 0 {
		t.Errorf("refused %v, want none", tokens.refused)
	}
}

func TestTransport_RefusedTokenIsReplacedOnce(t *testing.T) {
	t.Parallel()
	for name, streams := range map[string]bool{"streams": true, "calls": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gc := startGlobalController(t, streams)
			cfg := testConfig(gc.address)
			tokens := &fakeTokens{tokens: []string{"t1", "t2", "t3", "t4", "t5", "t6"}}
			cfg.Tokens = tokens
			attempts := 0
			cfg.OnCall = func(c Call) {
				if c.Code != codes.Unimplemented {
					attempts++
				}
			}

			transport := newTestTransport(t, cfg, nil)
			refuse := 1
			gc.setResponse(func(s receivedCall) error {
				if isHeartbeat(s) && refuse > 0 {
					refuse--
					return status.Error(codes.Unauthenticated, "Invalid token")
				}
				return nil
			})

			checkHeartbeat(t, transport, codes.OK)
			if attempts != 2 {
				t.Errorf("%d attempts, want 2", attempts)
			}

			refuse, attempts = 100, 0
			for range 3 {
				checkHeartbeat(t, transport, codes.Unauthenticated)
			}
			if attempts != 4 {
				t.Errorf("%d attempts for three heartbeats, want 4: only the first is retried", attempts)
			}
		})
	}
}

func TestTransport_NoCallWithoutAToken(t *testing.T) {
	t.Parallel()
	cfg := testConfig("127.0.0.1:1")
	cfg.Tokens = &fakeTokens{tokens: []string{""}, err: errors.New("the AC is down")}
	cfg.OnCall = func(c Call) { t.Errorf("call %v, want none", c) }
	err := checkHeartbeatErr(t, newTestTransport(t, cfg, nil), codes.Unavailable)
	if err == nil || err.Error() != "the AC is down" {
		t.Errorf("heartbeat = %v, want the error of the source", err)
	}
}

func TestStream_Response(t *testing.T) {
	t.Parallel()
	gc := startGlobalController(t, true)
	transport := newTestTransport(t, testConfig(gc.address), nil)
	gc.setResponse(func(s receivedCall) error {
		if isHeartbeat(s) {
			return status.Error(codes.ResourceExhausted, "Rate limit exceeded")
		}
		return nil
	})

	err := checkHeartbeatErr(t, transport, codes.ResourceExhausted)
	if got := retryAfterOf(err); got != 7*time.Millisecond {
		t.Errorf("retry after %v, want 7 ms", got)
	}

	gc.setResponse(nil)
	got, err := transport.heartbeat(t.Context(), heartbeatReport{isComprehensive: true})
	if want := (callResponse{intervals: gc.intervals}); err != nil || got != want {
		t.Errorf("heartbeat = %+v, %v, want %+v", got, err, want)
	}
}

// unacknowledgingServer acknowledges no call.
type unacknowledgingServer struct {
	darktowerv1.UnimplementedGlobalControllerServiceServer
}

func (unacknowledgingServer) RegisterMC(context.Context, *darktowerv1.RegisterMCRequest) (*darktowerv1.RegisterMCResponse, error) {
	return &darktowerv1.RegisterMCResponse{}, nil
}

func (unacknowledgingServer) FastHeartbeat(context.Context, *darktowerv1.FastHeartbeatRequest) (*darktowerv1.FastHeartbeatResponse, error) {
	return &darktowerv1.FastHeartbeatResponse{}, nil
}

func TestTransport_UnacknowledgedCallFails(t *testing.T) {
	t.Parallel()
	server := grpc.NewServer()
	darktowerv1.RegisterGlobalControllerServiceServer(server, unacknowledgingServer{})
	transport := newTestTransport(t, testConfig(serve(t, server)), nil)
	if _, err := transport.register(t.Context()); !errors.Is(err, errNotAcknowledged) {
		t.Errorf("register = %v, want %v", err, errNotAcknowledged)
	}
	if err := checkHeartbeatErr(t, transport, codes.Unknown); !errors.Is(err, errNotAcknowledged) {
		t.Errorf("heartbeat = %v, want %v", err, errNotAcknowledged)
	}
}

// TestStream_Refused: if a Global Controller has too many streams, the client sends unary calls and no event.
func TestStream_Refused(t *testing.T) {
	t.Parallel()
	gc := startGlobalController(t, true)
	gc.setResponse(func(s receivedCall) error {
		if s.method == methodStream {
			return status.Error(codes.ResourceExhausted, "Too many heartbeat streams of this client")
		}
		return nil
	})

	r := startClient(t, testConfig(gc.address))
	for range 5 {
		if got := gc.waitForCall(t, "a heartbeat", isHeartbeat); got.stream {
			t.Errorf("heartbeat %+v, want a call", got)
		}
	}

	r.stop(nil)
	if err := r.waitForEnd(t); err != nil {
		t.Errorf("Run() = %v, want nil", err)
	}

	refused := 0
	for len(r.calls) > 0 {
		if c := <-r.calls; c.Method == methodStream {
			refused++
		}
	}

	if refused != 1 {
		t.Errorf("tried %d streams, want 1, and the next a minute later", refused)
	}
	for len(r.events) > 0 {
		if e := <-r.events; e.Kind == EventLost {
			t.Errorf("lost: %v, want none", e.Err)
		}
	}
}
