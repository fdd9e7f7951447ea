package client

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	globalcontrollerv1 "darktower.example/global-controller/proto/globalcontroller/v1"
)

// always has every heartbeat answered with the error; what else is called succeeds.
func always(err error) func(seen) error {
	return func(s seen) error {
		if isHeartbeat(s) {
			return err
		}
		return nil
	}
}

// arrivals counts the heartbeats that arrived so far, and drops all that arrived.
func (gc *fakeGC) arrivals() (heartbeats int) {
	for len(gc.calls) > 0 {
		if isHeartbeat(<-gc.calls) {
			heartbeats++
		}
	}
	return heartbeats
}

func TestFailover_AfterFailuresOfEveryKind(t *testing.T) {
	t.Parallel()
	for _, code := range []codes.Code{
		codes.Unauthenticated, codes.PermissionDenied, codes.Internal, codes.ResourceExhausted, codes.Unavailable, codes.Unknown,
		codes.DeadlineExceeded, codes.Unimplemented, codes.Aborted,
	} {
		for name, streams := range map[string]bool{"streams": true, "calls": false} {
			t.Run(code.String()+" over "+name, func(t *testing.T) {
				t.Parallel()
				first, second := startGC(t, streams), startGC(t, streams)
				first.answers(always(status.Error(code, "The fault of this one")))
				cfg := testConfig(first.address, second.address)
				cfg.FailoverAfter = 4
				transport := direct(t, cfg, nil)

				tried := 0
				for second.arrivals() == 0 {
					if _, err := transport.heartbeat(t.Context(), report{}); err != nil && codeOf(err) != code {
						t.Fatalf("heartbeat = %v, want %v or success", err, code)
					}
					if tried++; tried > 4 {
						t.Fatalf("%d heartbeats without an attempt at the other address", tried)
					}
				}
				most := 4
				if code == codes.Unimplemented && streams {
					most++ // A heartbeat that a stream is not known for is sent as a call as well.
				}
				if n := first.arrivals(); n < 1 || n > most {
					t.Errorf("the first was tried %d times, want at most %d", n, most)
				}

				// It works there, so the client stays, and the connection is not made again.
				for range 20 {
					beat(t, transport, codes.OK)
				}
				if n, m := first.arrivals(), second.arrivals(); n != 0 || m != 20 {
					t.Errorf("then %d heartbeats went to the first and %d to the second, want 20 to the second", n, m)
				}
			})
		}
	}
}

func TestFailover_RegistrationFailsOver(t *testing.T) {
	t.Parallel()
	for _, code := range []codes.Code{codes.Unauthenticated, codes.PermissionDenied, codes.Internal, codes.ResourceExhausted} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			first, second := startGC(t, true), startGC(t, true)
			first.answers(func(seen) error { return retryInfo(code, 10*time.Millisecond) })
			r := run(t, testConfig(first.address, second.address))
			r.event(t, EventRegistered)
			second.next(t, "a heartbeat", isHeartbeat)
		})
	}
}

func TestFailover_AnswersAreNoFailures(t *testing.T) {
	t.Parallel()
	for _, code := range []codes.Code{codes.NotFound, codes.FailedPrecondition, codes.InvalidArgument} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			first, second := startGC(t, true), startGC(t, true)
			var n atomic.Int32
			first.answers(func(s seen) error {
				// A failure now and then: an answer in between ends the run of them.
				if isHeartbeat(s) && n.Add(1)%3 == 0 {
					return status.Error(codes.Internal, "Internal error")
				}
				return always(status.Error(code, "An answer"))(s)
			})
			transport := direct(t, testConfig(first.address, second.address), nil)
			for range 30 {
				_, _ = transport.heartbeat(t.Context(), report{})
			}
			if got := second.arrivals(); got != 0 {
				t.Errorf("%d heartbeats went to the second address, want none", got)
			}
		})
	}
}

func TestFailover_TokenIsRenewedOnceAtEachAddress(t *testing.T) {
	t.Parallel()
	first, second := startGC(t, true), startGC(t, true)
	for _, gc := range []*fakeGC{first, second} {
		gc.answers(always(status.Error(codes.Unauthenticated, "Invalid token")))
	}
	tokens := &fakeTokens{}
	for i := range 100 {
		tokens.tokens = append(tokens.tokens, fmt.Sprintf("t%d", i))
	}
	cfg := testConfig(first.address, second.address)
	cfg.Tokens = tokens
	transport := direct(t, cfg, nil)
	for range 12 {
		beat(t, transport, codes.Unauthenticated)
	}
	n, m := first.arrivals(), second.arrivals()
	if n+m > 14 || n < 5 || m < 5 {
		t.Errorf("12 heartbeats made %d attempts at the first and %d at the second, want at most 14, shared between them", n, m)
	}
	if got := len(tokens.refused); got < 2 || got > 5 {
		t.Errorf("the token was renewed %d times, want once for each turn at an address", got)
	}
}

// TestFailover_RefusedTokenServesWhileThereIsNoOther has one Global Controller that cannot judge tokens, and no auth
// controller: the other one accepts the token that the first refuses.
func TestFailover_RefusedTokenServesWhileThereIsNoOther(t *testing.T) {
	t.Parallel()
	first, second := startGC(t, true), startGC(t, true)
	first.answers(always(status.Error(codes.Unauthenticated, "Invalid token")))
	cfg := testConfig(first.address, second.address)
	cfg.Tokens = &lastToken{}
	transport := direct(t, cfg, nil)
	for range defaultFailoverAfter {
		_, _ = transport.heartbeat(t.Context(), report{})
	}
	if got := second.next(t, "a heartbeat", isHeartbeat); got.token != "" && got.token != "Bearer t1" {
		t.Errorf("heartbeat with %q, want the token that there is", got.token)
	}
	beat(t, transport, codes.OK)
}

// lastToken is a source that has no other token once the first one is refused.
type lastToken struct{ refused atomic.Bool }

func (l *lastToken) Token(context.Context) (string, error) {
	if l.refused.Load() {
		return "", errors.New("the auth controller is down")
	}
	return "t1", nil
}

func (l *lastToken) Invalidate(string) { l.refused.Store(true) }

func TestFailover_OneClientOfManyMovesAlone(t *testing.T) {
	t.Parallel()
	first, second := startGC(t, true), startGC(t, true)
	first.answers(func(s seen) error {
		if isHeartbeat(s) && s.id == "mc-0" {
			return status.Error(codes.Unauthenticated, "Invalid token")
		}
		return nil
	})
	connection, err := NewConnection([]string{first.address, second.address}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	var transports []*grpcTransport
	for i := range 5 {
		cfg := testConfig()
		cfg.ControllerID = fmt.Sprintf("mc-%d", i)
		transports = append(transports, direct(t, cfg, connection))
	}
	for range 10 {
		for i, transport := range transports {
			if _, err := transport.heartbeat(t.Context(), report{}); err != nil && i > 0 {
				t.Errorf("heartbeat of mc-%d = %v", i, err)
			}
		}
	}
	if n, m := first.arrivals(), second.arrivals(); n != 40+defaultFailoverAfter || m < 7 {
		t.Errorf("%d heartbeats at the first and %d at the second, want only mc-0 at the second", n, m)
	}
}

func TestFailover_SingleAddressIsConnectedAgain(t *testing.T) {
	t.Parallel()
	gc := startGC(t, true)
	gc.answers(always(status.Error(codes.Internal, "Internal error")))
	transport := direct(t, testConfig(gc.address), nil)
	beat(t, transport, codes.Internal)
	before := transport.connection.links
	var first *link
	for l := range before {
		first = l
	}
	for range defaultFailoverAfter {
		beat(t, transport, codes.Internal)
	}
	if transport.connection.links[first] || len(transport.connection.links) != 1 {
		t.Error("the connection is still the first one, want a fresh one: behind the address there may be several")
	}
}

// muteStreams accept a stream and never answer on it.
type muteStreams struct {
	globalcontrollerv1.UnimplementedHeartbeatServiceServer
	accepted atomic.Int32
}

func (m *muteStreams) StreamHeartbeats(stream grpc.BidiStreamingServer[streamRequest, streamResponse]) error {
	m.accepted.Add(1)
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

func TestFailover_StreamThatNeverAnswersIsLeftAtOnce(t *testing.T) {
	t.Parallel()
	second := startGC(t, true)
	mute := &muteStreams{}
	server := grpc.NewServer()
	globalcontrollerv1.RegisterHeartbeatServiceServer(server, mute)
	address := serve(t, server)
	cfg := testConfig(address, second.address)
	cfg.CallTimeout = 200 * time.Millisecond
	transport := direct(t, cfg, nil)
	beat(t, transport, codes.DeadlineExceeded)
	beat(t, transport, codes.OK)
	if n, m := mute.accepted.Load(), second.arrivals(); n != 1 || m != 1 {
		t.Errorf("%d streams at the first and %d heartbeats at the second, want one of each", n, m)
	}
}

// TestFailover_NoStormWhileAllFail counts what a client does in an hour at two addresses that fail in every way.
func TestFailover_NoStormWhileAllFail(t *testing.T) {
	t.Parallel()
	for _, code := range []codes.Code{codes.Unauthenticated, codes.Internal, codes.Unavailable, codes.DeadlineExceeded} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			first, second := startGC(t, true), startGC(t, true)
			for _, gc := range []*fakeGC{first, second} {
				gc.answers(always(status.Error(code, "All fail")))
			}
			transport := direct(t, testConfig(first.address, second.address), nil)
			const beats = 100
			for range beats {
				beat(t, transport, code)
			}
			// One more attempt at once for the other address, and one for a token: no more in the whole run.
			n, m := first.arrivals(), second.arrivals()
			if n+m > beats+2 {
				t.Errorf("%d heartbeats made %d attempts, want at most 2 more", beats, n+m)
			}
			if least := min(n, m); least < beats/4 {
				t.Errorf("%d attempts at the first and %d at the second, want both tried in turn", n, m)
			}
			if got := len(transport.connection.links); got > 2 {
				t.Errorf("%d connections, want one to each address", got)
			}
		})
	}
}

// TestFailover_InTimeForTheStalenessThreshold holds that the default number of failures leaves a client time to be
// acknowledged elsewhere before it counts as stale, whatever chance makes of the waits.
func TestFailover_InTimeForTheStalenessThreshold(t *testing.T) {
	t.Parallel()
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			var acknowledged []time.Time
			tr := newTrial(t, nil)
			tr.calls.answer = func(c call) (answer, error) {
				// The last attempt that fails is followed by one at the next address, without a wait.
				if n := len(tr.calls.calls); c.method != methodRegister && n > 2 && n < 2+defaultFailoverAfter {
					return answer{}, failed(codes.Internal)
				}
				acknowledged = append(acknowledged, time.Now())
				return answer{}, nil
			}
			if err := tr.runFor(t, time.Minute); err != nil {
				t.Fatal(err)
			}
			for i := 1; i < len(acknowledged); i++ {
				if gap := acknowledged[i].Sub(acknowledged[i-1]); gap >= 25*time.Second {
					t.Errorf("%v passed between two acknowledged heartbeats", gap)
				}
			}
		})
	}
}
