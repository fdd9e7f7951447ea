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

// fakeTokens are tokens in a row.
type fakeTokens struct {
	mu      sync.Mutex
	tokens  []string // The first one is the current one.
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

// direct is a transport that a test calls by itself.
func direct(t *testing.T, cfg Config, connection *Connection) *grpcTransport {
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

func beat(t *testing.T, transport *grpcTransport, want codes.Code) {
	t.Helper()
	_ = beatErr(t, transport, want)
}

// beatErr returns the error as well.
func beatErr(t *testing.T, transport *grpcTransport, want codes.Code) error {
	t.Helper()
	_, err := transport.heartbeat(t.Context(), report{})
	if got := codeOf(err); got != want {
		t.Errorf("heartbeat = %v, want %v", err, want)
	}
	return err
}

// opened counts the streams that arrived so far, and drops all that arrived.
func (gc *fakeGC) opened() (streams int, tokens []string) {
	for len(gc.calls) > 0 {
		if s := <-gc.calls; s.method == methodStream {
			streams++
			tokens = append(tokens, s.token)
		}
	}
	return streams, tokens
}

func TestAStreamThatEndedBetweenHeartbeatsIsNoFailure(t *testing.T) {
	t.Parallel()
	for _, end := range []error{nil, status.Error(codes.Unavailable, "The server is stopping"), status.Error(codes.Unauthenticated, "Invalid token")} {
		t.Run(codeOf(failureFrom(context.Background(), end)).String(), func(t *testing.T) {
			t.Parallel()
			gc := startGC(t, true)
			cfg := testConfig(gc.address)
			tokens := &fakeTokens{tokens: []string{"t1", "t2"}}
			cfg.Tokens = tokens
			var calls []Call
			cfg.OnCall = func(c Call) { calls = append(calls, c) }
			transport := direct(t, cfg, nil)
			beat(t, transport, codes.OK)
			stream := transport.stream
			gc.endStreams(end)
			<-stream.ended
			beat(t, transport, codes.OK)
			if len(calls) != 2 {
				t.Errorf("%d attempts, want one for each heartbeat: %v", len(calls), calls)
			}
			want := "Bearer t1"
			if status.Code(end) == codes.Unauthenticated {
				want = "Bearer t2"
			}
			if n, with := gc.opened(); n != 2 || with[1] != want {
				t.Errorf("opened streams with %v, want two and the second with %s", with, want)
			}
		})
	}
}

func TestAStreamThatWasDeadIsTriedAgainOnce(t *testing.T) {
	t.Parallel()
	gc := startGC(t, true)
	transport := direct(t, testConfig(gc.address), nil)
	beat(t, transport, codes.OK)
	ends := 1
	gc.answers(func(s seen) error {
		if ends > 0 && isHeartbeat(s) {
			ends--
			return errEnd
		}
		return nil
	})
	beat(t, transport, codes.OK) // Over a second stream.
	gc.answers(func(s seen) error {
		if isHeartbeat(s) {
			return errEnd
		}
		return nil
	})
	if err := beatErr(t, transport, codes.Unavailable); err.Error() != "Unavailable: The server is stopping" {
		t.Errorf("heartbeat = %v", err)
	}
	if n, _ := gc.opened(); n != 3 {
		t.Errorf("opened %d streams, want 3", n)
	}
	beat(t, transport, codes.Unavailable)
	gc.answers(func(s seen) error {
		if isHeartbeat(s) {
			return errQuit
		}
		return nil
	})
	beat(t, transport, codes.Unavailable)
	if n, _ := gc.opened(); n != 2 {
		t.Errorf("opened %d streams for two heartbeats in trouble, want 2", n)
	}
}

func TestAFreshStreamThatEndsIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	gc := startGC(t, true)
	transport := direct(t, testConfig(gc.address), nil)
	gc.answers(func(s seen) error {
		if isHeartbeat(s) {
			return errEnd
		}
		return nil
	})
	beat(t, transport, codes.Unavailable)
	if n, _ := gc.opened(); n != 1 {
		t.Errorf("opened %d streams, want 1: this one was not dead before", n)
	}
}

func TestAStreamFollowsItsConnection(t *testing.T) {
	t.Parallel()
	first, second := startGC(t, true), startGC(t, true)
	transport := direct(t, testConfig(first.address, second.address), nil)
	beat(t, transport, codes.OK)
	transport.connection.replace(transport.stream.link) // As another client of the connection does.
	beat(t, transport, codes.OK)
	if n, _ := second.opened(); n != 1 || len(transport.connection.links) != 1 {
		t.Errorf("opened %d streams at the second, with %d links, want one of each", n, len(transport.connection.links))
	}
}

func TestAnAnswerThatDoesNotComeEndsTheStream(t *testing.T) {
	t.Parallel()
	gc := startGC(t, true)
	cfg := testConfig(gc.address)
	cfg.CallTimeout = 100 * time.Millisecond
	transport := direct(t, cfg, nil)
	beat(t, transport, codes.OK)
	gc.answers(func(seen) error { return errMute })
	beat(t, transport, codes.DeadlineExceeded)
	if transport.stream != nil {
		t.Error("the stream is kept")
	}
	gc.answers(nil)
	beat(t, transport, codes.OK)
	ctx, cancel := context.WithCancel(t.Context())
	gc.answers(func(seen) error {
		cancel()
		return errMute
	})
	if _, err := transport.heartbeat(ctx, report{}); codeOf(err) != codes.Canceled || !errors.Is(err, context.Canceled) {
		t.Errorf("heartbeat = %v, want canceled", err)
	}
}

func TestARenewedTokenOpensAnotherStream(t *testing.T) {
	t.Parallel()
	gc := startGC(t, true)
	cfg := testConfig(gc.address)
	tokens := &fakeTokens{tokens: []string{"t1", "t2"}}
	cfg.Tokens = tokens
	transport := direct(t, cfg, nil)
	beat(t, transport, codes.OK)
	beat(t, transport, codes.OK)
	tokens.renew()
	beat(t, transport, codes.OK)
	beat(t, transport, codes.OK)
	if n, with := gc.opened(); n != 2 || with[1] != "Bearer t2" {
		t.Errorf("opened streams with %v, want t1 and t2", with)
	}
	if len(tokens.refused) > 0 {
		t.Errorf("refused %v, want none", tokens.refused)
	}
}

func TestARefusedTokenIsReplacedOnce(t *testing.T) {
	t.Parallel()
	for name, streams := range map[string]bool{"streams": true, "calls": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gc := startGC(t, streams)
			cfg := testConfig(gc.address)
			tokens := &fakeTokens{tokens: []string{"t1", "t2", "t3", "t4", "t5", "t6"}}
			cfg.Tokens = tokens
			attempts := 0
			cfg.OnCall = func(c Call) {
				if c.Code != codes.Unimplemented {
					attempts++
				}
			}
			transport := direct(t, cfg, nil)
			refuse := 1
			gc.answers(func(s seen) error {
				if isHeartbeat(s) && refuse > 0 {
					refuse--
					return status.Error(codes.Unauthenticated, "Invalid token")
				}
				return nil
			})
			beat(t, transport, codes.OK)
			if attempts != 2 {
				t.Errorf("%d attempts, want 2", attempts)
			}
			refuse, attempts = 100, 0
			for range 3 {
				beat(t, transport, codes.Unauthenticated)
			}
			if attempts != 4 {
				t.Errorf("%d attempts for three heartbeats, want 4: only the first is tried again", attempts)
			}
		})
	}
}

func TestWithoutATokenThereIsNoCall(t *testing.T) {
	t.Parallel()
	cfg := testConfig("127.0.0.1:1")
	cfg.Tokens = &fakeTokens{tokens: []string{""}, err: errors.New("the AC is away")}
	cfg.OnCall = func(c Call) { t.Errorf("called %v", c) }
	err := beatErr(t, direct(t, cfg, nil), codes.Unavailable)
	if err == nil || err.Error() != "the AC is away" {
		t.Errorf("heartbeat = %v, want the reason", err)
	}
}

func TestWhatAStreamsAnswerSays(t *testing.T) {
	t.Parallel()
	gc := startGC(t, true)
	transport := direct(t, testConfig(gc.address), nil)
	gc.answers(func(s seen) error {
		if isHeartbeat(s) {
			return status.Error(codes.ResourceExhausted, "Rate limit exceeded")
		}
		return nil
	})
	err := beatErr(t, transport, codes.ResourceExhausted)
	if got := retryAfterOf(err); got != 7*time.Millisecond {
		t.Errorf("retry after %v, want 7 ms", got)
	}
	gc.answers(nil)
	got, err := transport.heartbeat(t.Context(), report{comprehensive: true})
	if want := (answer{intervals: gc.pace}); err != nil || got != want {
		t.Errorf("heartbeat = %+v, %v, want %+v", got, err, want)
	}
}

// rude acknowledges nothing.
type rude struct {
	darktowerv1.UnimplementedGlobalControllerServiceServer
}

func (rude) RegisterMC(context.Context, *darktowerv1.RegisterMCRequest) (*darktowerv1.RegisterMCResponse, error) {
	return &darktowerv1.RegisterMCResponse{}, nil
}

func (rude) FastHeartbeat(context.Context, *darktowerv1.FastHeartbeatRequest) (*darktowerv1.FastHeartbeatResponse, error) {
	return &darktowerv1.FastHeartbeatResponse{}, nil
}

func TestAnAnswerThatAcknowledgesNothingIsAFailure(t *testing.T) {
	t.Parallel()
	server := grpc.NewServer()
	darktowerv1.RegisterGlobalControllerServiceServer(server, rude{})
	transport := direct(t, testConfig(serve(t, server)), nil)
	if _, err := transport.register(t.Context()); !errors.Is(err, errNoAck) {
		t.Errorf("register = %v, want %v", err, errNoAck)
	}
	if err := beatErr(t, transport, codes.Unknown); !errors.Is(err, errNoAck) {
		t.Errorf("heartbeat = %v, want %v", err, errNoAck)
	}
}

// TestStream_Refused: a Global Controller with too many streams is sent calls, and no controller notices.
func TestStream_Refused(t *testing.T) {
	t.Parallel()
	gc := startGC(t, true)
	gc.answers(func(s seen) error {
		if s.method == methodStream {
			return status.Error(codes.ResourceExhausted, "Too many heartbeat streams of this client")
		}
		return nil
	})
	r := run(t, testConfig(gc.address))
	for range 5 {
		if got := gc.next(t, "a heartbeat", isHeartbeat); got.stream {
			t.Errorf("heartbeat %+v, want a call", got)
		}
	}
	r.stop(nil)
	if err := r.ends(t); err != nil {
		t.Errorf("Run() = %v, want nil", err)
	}

	refused := 0
	for len(r.calls) > 0 {
		if c := <-r.calls; c.Method == methodStream {
			refused++
		}
	}
	if refused != 1 {
		t.Errorf("tried %d streams, want 1: the next a minute later", refused)
	}
	for len(r.events) > 0 {
		if e := <-r.events; e.Kind == EventLost {
			t.Errorf("lost: %v, want none", e.Err)
		}
	}
}
