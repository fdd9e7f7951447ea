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

// failHeartbeats returns a response function that fails every heartbeat with the error. All other calls succeed.
func failHeartbeats(err error) func(receivedCall) error {
	return func(s receivedCall) error {
		if isHeartbeat(s) {
			return err
		}
		return nil
	}
}

// takeHeartbeats counts the heartbeats that have arrived, and removes all calls that have arrived.
func (gc *fakeGlobalController) takeHeartbeats() (heartbeats int) {
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
				first, second := startGlobalController(t, streams), startGlobalController(t, streams)
				first.setResponse(failHeartbeats(status.Error(code, "The fault of this address")))
				cfg := testConfig(first.address, second.address)
				cfg.FailoverAfter = 4
				transport := newTestTransport(t, cfg, nil)

				attempts := 0
				for second.takeHeartbeats() == 0 {
					if _, err := transport.heartbeat(t.Context(), heartbeatReport{}); err != nil && codeOf(err) != code {
						t.Fatalf("heartbeat = %v, want %v or success", err, code)
					}
					if attempts++; attempts > 4 {
						t.Fatalf("%d heartbeats without an attempt at the other address", attempts)
					}
				}

				most := 4
				if code == codes.Unimplemented && streams {
					most++ // After UNIMPLEMENTED for the stream, the heartbeat is sent as a unary call as well.
				}
				if n := first.takeHeartbeats(); n < 1 || n > most {
					t.Errorf("the first was tried %d times, want at most %d", n, most)
				}

				// The second address works, so the client stays with it and keeps the connection.
				for range 20 {
					checkHeartbeat(t, transport, codes.OK)
				}
				if atFirst, atSecond := first.takeHeartbeats(), second.takeHeartbeats(); atFirst != 0 || atSecond != 20 {
					t.Errorf("then %d heartbeats went to the first and %d to the second, want 20 to the second", atFirst, atSecond)
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
			first, second := startGlobalController(t, true), startGlobalController(t, true)
			first.setResponse(func(receivedCall) error { return retryInfo(code, 10*time.Millisecond) })
			r := startClient(t, testConfig(first.address, second.address))
			r.waitForEvent(t, EventRegistered)
			second.waitForCall(t, "a heartbeat", isHeartbeat)
		})
	}
}

func TestFailover_ConclusiveCodesAreNoFailures(t *testing.T) {
	t.Parallel()
	for _, code := range []codes.Code{codes.NotFound, codes.FailedPrecondition, codes.InvalidArgument} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			first, second := startGlobalController(t, true), startGlobalController(t, true)
			var n atomic.Int32
			first.setResponse(func(s receivedCall) error {
				// A failure after every second conclusive response, which ends the row of failures.
				if isHeartbeat(s) && n.Add(1)%3 == 0 {
					return status.Error(codes.Internal, "Internal error")
				}

				return failHeartbeats(status.Error(code, "A conclusive response"))(s)
			})

			transport := newTestTransport(t, testConfig(first.address, second.address), nil)
			for range 30 {
				_, _ = transport.heartbeat(t.Context(), heartbeatReport{})
			}
			if got := second.takeHeartbeats(); got != 0 {
				t.Errorf("%d heartbeats went to the second address, want none", got)
			}
		})
	}
}

func TestFailover_TokenIsRenewedOnceAtEachAddress(t *testing.T) {
	t.Parallel()
	first, second := startGlobalController(t, true), startGlobalController(t, true)
	for _, gc := range []*fakeGlobalController{first, second} {
		gc.setResponse(failHeartbeats(status.Error(codes.Unauthenticated, "Invalid token")))
	}

	tokens := &fakeTokens{}
	for i := range 100 {
		tokens.tokens = append(tokens.tokens, fmt.Sprintf("t%d", i))
	}
	cfg := testConfig(first.address, second.address)
	cfg.Tokens = tokens
	transport := newTestTransport(t, cfg, nil)

	for range 12 {
		checkHeartbeat(t, transport, codes.Unauthenticated)
	}
	atFirst, atSecond := first.takeHeartbeats(), second.takeHeartbeats()
	if atFirst+atSecond > 14 || atFirst < 5 || atSecond < 5 {
		t.Errorf("12 heartbeats made %d attempts at the first and %d at the second, want at most 14, shared between them", atFirst, atSecond)
	}
	if got := len(tokens.refused); got < 2 || got > 5 {
		t.Errorf("the token was renewed %d times, want once for each turn at an address", got)
	}
}

// TestFailover_RefusedTokenIsUsedWhileThereIsNoOther: one Global Controller refuses all tokens, and there is no auth
// controller. The other Global Controller accepts the token that the first one refused.
func TestFailover_RefusedTokenIsUsedWhileThereIsNoOther(t *testing.T) {
	t.Parallel()
	first, second := startGlobalController(t, true), startGlobalController(t, true)
	first.setResponse(failHeartbeats(status.Error(codes.Unauthenticated, "Invalid token")))
	cfg := testConfig(first.address, second.address)
	cfg.Tokens = &singleToken{}
	transport := newTestTransport(t, cfg, nil)

	for range defaultFailoverAfter {
		_, _ = transport.heartbeat(t.Context(), heartbeatReport{})
	}
	if got := second.waitForCall(t, "a heartbeat", isHeartbeat); got.token != "" && got.token != "Bearer t1" {
		t.Errorf("heartbeat with %q, want the only token", got.token)
	}
	checkHeartbeat(t, transport, codes.OK)
}

// singleToken is a source that has no other token after the first one is refused.
type singleToken struct{ isRefused atomic.Bool }

func (l *singleToken) Token(context.Context) (string, error) {
	if l.isRefused.Load() {
		return "", errors.New("the auth controller is down")
	}
	return "t1", nil
}

func (l *singleToken) Invalidate(string) { l.isRefused.Store(true) }

func TestFailover_OneClientOfManyMovesAlone(t *testing.T) {
	t.Parallel()
	first, second := startGlobalController(t, true), startGlobalController(t, true)
	first.setResponse(func(s receivedCall) error {
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
		transports = append(transports, newTestTransport(t, cfg, connection))
	}

	for range 10 {
		for i, transport := range transports {
			if _, err := transport.heartbeat(t.Context(), heartbeatReport{}); err != nil && i > 0 {
				t.Errorf("heartbeat of mc-%d = %v", i, err)
			}
		}
	}

	if atFirst, atSecond := first.takeHeartbeats(), second.takeHeartbeats(); atFirst != 40+defaultFailoverAfter || atSecond < 7 {
		t.Errorf("%d heartbeats at the first and %d at the second, want only mc-0 at the second", atFirst, atSecond)
	}
}

func TestFailover_SingleAddressIsConnectedAgain(t *testing.T) {
	t.Parallel()
	gc := startGlobalController(t, true)
	gc.setResponse(failHeartbeats(status.Error(codes.Internal, "Internal error")))
	transport := newTestTransport(t, testConfig(gc.address), nil)
	checkHeartbeat(t, transport, codes.Internal)
	var first *link
	for l := range transport.connection.openLinks {
		first = l
	}

	for range defaultFailoverAfter {
		checkHeartbeat(t, transport, codes.Internal)
	}
	if transport.connection.openLinks[first] || len(transport.connection.openLinks) != 1 {
		t.Error("the connection is still the first one, want a new one: several Global Controllers may share the address")
	}
}

// silentStreams accepts a stream and sends no response.
type silentStreams struct {
	globalcontrollerv1.UnimplementedHeartbeatServiceServer
	accepted atomic.Int32
}

func (m *silentStreams) StreamHeartbeats(stream grpc.BidiStreamingServer[streamRequest, streamResponse]) error {
	m.accepted.Add(1)
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

func TestFailover_SilentStreamMovesAtOnce(t *testing.T) {
	t.Parallel()
	second := startGlobalController(t, true)
	silent := &silentStreams{}
	server := grpc.NewServer()
	globalcontrollerv1.RegisterHeartbeatServiceServer(server, silent)
	address := serve(t, server)
	cfg := testConfig(address, second.address)
	cfg.CallTimeout = 200 * time.Millisecond
	transport := newTestTransport(t, cfg, nil)

	checkHeartbeat(t, transport, codes.DeadlineExceeded)
	checkHeartbeat(t, transport, codes.OK)
	if atFirst, atSecond := silent.accepted.Load(), second.takeHeartbeats(); atFirst != 1 || atSecond != 1 {
		t.Errorf("%d streams at the first and %d heartbeats at the second, want one of each", atFirst, atSecond)
	}
}

// TestFailover_NoExtraCallsWhileAllFail counts the attempts of a client whose two addresses both fail.
func TestFailover_NoExtraCallsWhileAllFail(t *testing.T) {
	t.Parallel()
	for _, code := range []codes.Code{codes.Unauthenticated, codes.Internal, codes.Unavailable, codes.DeadlineExceeded} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			first, second := startGlobalController(t, true), startGlobalController(t, true)
			for _, gc := range []*fakeGlobalController{first, second} {
				gc.setResponse(failHeartbeats(status.Error(code, "All fail")))
			}
			transport := newTestTransport(t, testConfig(first.address, second.address), nil)

			const heartbeats = 100
			for range heartbeats {
				checkHeartbeat(t, transport, code)
			}

			// One more attempt for the other address, and one for another token, in the whole run.
			atFirst, atSecond := first.takeHeartbeats(), second.takeHeartbeats()
			if atFirst+atSecond > heartbeats+2 {
				t.Errorf("%d heartbeats made %d attempts, want at most 2 more", heartbeats, atFirst+atSecond)
			}

			if least := min(atFirst, atSecond); least < heartbeats/4 {
				t.Errorf("%d attempts at the first and %d at the second, want both tried in turns", atFirst, atSecond)
			}
			if got := len(transport.connection.openLinks); got > 2 {
				t.Errorf("%d connections, want one to each address", got)
			}
		})
	}
}

// TestFailover_InTimeForTheStalenessThreshold: after the default number of failures, a client has time to be acknowledged at
// another address before it is stale, with any random delays.
func TestFailover_InTimeForTheStalenessThreshold(t *testing.T) {
	t.Parallel()
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			var acknowledged []time.Time
			loop := newTestLoop(t, nil)
			loop.transport.respond = func(c madeCall) (callResponse, error) {
				// The last failed attempt is followed by one at the next address, without a delay.
				if n := len(loop.transport.calls); c.method != methodRegister && n > 2 && n < 2+defaultFailoverAfter {
					return callResponse{}, newTestFailure(codes.Internal)
				}

				acknowledged = append(acknowledged, time.Now())
				return callResponse{}, nil
			}

			if err := loop.crashAfter(t, time.Minute); err != nil {
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
