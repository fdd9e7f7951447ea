package client

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	darktowerv1 "darktower.example/global-controller/proto/darktower/v1"
)

// clientRunner runs a client and records its events and calls.
type clientRunner struct {
	*Client
	events chan Event
	calls  chan Call
	stop   context.CancelCauseFunc
	result chan error
}

func testConfig(addresses ...string) Config {
	return Config{
		ControllerID:    "mc-1",
		Region:          "eu-west-1",
		GRPCEndpoint:    "http://mc-1.example:50052",
		MaxMeetings:     10,
		MaxParticipants: 100,
		Addresses:       addresses,
		Tokens:          StaticToken("t1"),
		Load:            func() Load { return Load{Meetings: 1, Participants: 2, CPUPercent: 30} },
	}
}

func startClient(t *testing.T, cfg Config) *clientRunner {
	t.Helper()
	r := &clientRunner{events: make(chan Event, 1000), calls: make(chan Call, 10_000), result: make(chan error, 1)}
	cfg.OnEvent = func(e Event) { r.events <- e }
	cfg.OnCall = func(c Call) {
		select {
		case r.calls <- c:
		default:
		}
	}

	client, err := New(cfg)
	if err != nil {
		t.Fatalf("New() = %v", err)
	}
	r.Client = client

	ctx, stop := context.WithCancelCause(t.Context())
	r.stop = stop

	var done sync.WaitGroup
	done.Go(func() { r.result <- client.Run(ctx) })
	t.Cleanup(func() {
		stop(ErrAbandon)
		done.Wait()
	})
	return r
}

func (r *clientRunner) waitForEvent(t *testing.T, kind EventKind) Event {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		select {
		case e := <-r.events:
			if e.Kind == kind {
				return e
			}
		case <-timeout:
			t.Fatalf("timeout while waiting for the event %v", kind)
		}
	}
}

// waitForCall waits for an attempt that matches.
func (r *clientRunner) waitForCall(t *testing.T, what string, fits func(Call) bool) Call {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		select {
		case c := <-r.calls:
			if fits(c) {
				return c
			}
		case <-timeout:
			t.Fatalf("timeout while waiting for the call %s", what)
		}
	}
}

func (r *clientRunner) waitForEnd(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.result:
		return err
	case <-time.After(10 * time.Second):
		t.Fatal("Run has not returned after 10 s")
		return nil
	}
}

func TestClient_HeartbeatsUseTheStream(t *testing.T) {
	t.Parallel()
	gc := startGlobalController(t, true)
	r := startClient(t, testConfig(gc.address))
	r.waitForEvent(t, EventRegistered)

	registered := gc.waitForCall(t, "the registration", hasMethod(methodRegister))
	if registered.id != "mc-1" || registered.token != "Bearer t1" || registered.incarnation != r.Incarnation() || r.Incarnation() == "" {
		t.Errorf("registered %+v, want mc-1 with t1 and %q", registered, r.Incarnation())
	}

	first := gc.waitForCall(t, "the first heartbeat", isHeartbeat)
	if first.method != methodComprehensive || !first.stream || first.cpu != 30 || first.load.GetCurrentParticipants() != 2 {
		t.Errorf("first heartbeat %+v, want a comprehensive one over the stream", first)
	}
	for range 3 {
		got := gc.waitForCall(t, "another", isHeartbeat)
		if !got.stream || got.incarnation != r.Incarnation() || got.health != darktowerv1.HealthStatus_HEALTH_STATUS_HEALTHY {
			t.Errorf("heartbeat %+v, want one over the stream", got)
		}
	}

	c := r.waitForCall(t, "a heartbeat", func(c Call) bool { return c.Method == methodFast })
	if !c.Stream || c.Err != nil || c.Took <= 0 || c.Began.IsZero() {
		t.Errorf("call %+v, want one over the stream", c)
	}

	r.stop(errors.New("shutdown"))
	if err := r.waitForEnd(t); err != nil {
		t.Errorf("Run() = %v, want nil", err)
	}

	last := gc.waitForCall(t, "the last heartbeat", isDraining)
	if !last.stream {
		t.Errorf("last heartbeat %+v, want it over a stream", last)
	}

	r.waitForEvent(t, EventStopped)
}

func TestClient_HeartbeatsWithoutStreams(t *testing.T) {
	t.Parallel()
	for name, noStream := range map[string]bool{"not offered": false, "disabled": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gc := startGlobalController(t, noStream)
			cfg := testConfig(gc.address)
			cfg.NoStream = noStream
			cfg.Shutdown.Deregister = true

			r := startClient(t, cfg)
			for range 3 {
				if got := gc.waitForCall(t, "a heartbeat", isHeartbeat); got.stream {
					t.Errorf("heartbeat %+v, want none over a stream", got)
				}
			}

			r.stop(nil)
			if err := r.waitForEnd(t); err != nil {
				t.Errorf("Run() = %v, want nil", err)
			}

			gc.waitForCall(t, "draining", isDraining)
			if got := gc.waitForCall(t, "the deregistration", hasMethod(methodDeregister)); got.incarnation != r.Incarnation() || got.id != "mc-1" {
				t.Errorf("deregistered %+v", got)
			}

			refused := 0
			for len(r.calls) > 0 {
				if c := <-r.calls; c.Method == methodStream {
					refused++
				}
			}

			if want := map[bool]int{false: 1, true: 0}[noStream]; refused != want {
				t.Errorf("tried %d streams, want %d", refused, want)
			}
			for len(r.events) > 0 {
				if e := <-r.events; e.Kind == EventLost {
					t.Errorf("lost: %v, want none", e.Err)
				}
			}
		})
	}
}

func TestClient_FailsOverAndBack(t *testing.T) {
	t.Parallel()
	for name, streams := range map[string]bool{"streams": true, "calls": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, second := startGlobalController(t, streams), startGlobalController(t, streams)
			cfg := testConfig()
			net := connectOverNetwork(t, &cfg, northAddress, southAddress)
			net.put(northAddress, first)
			net.put(southAddress, second)

			r := startClient(t, cfg)
			first.waitForCall(t, "a heartbeat", isHeartbeat)
			net.stop(northAddress, first)
			second.waitForCall(t, "a heartbeat at the second", isHeartbeat)

			again := startGlobalController(t, streams)
			net.put(northAddress, again)
			net.stop(southAddress, second)
			again.waitForCall(t, "a heartbeat at the first", isHeartbeat)
			r.waitForEvent(t, EventRegistered)
		})
	}
}

func TestClient_ReconnectsAfterARestart(t *testing.T) {
	t.Parallel()
	cfg := testConfig()
	net := connectOverNetwork(t, &cfg, northAddress)
	gc := startGlobalController(t, true)
	net.put(northAddress, gc)

	r := startClient(t, cfg)
	gc.waitForCall(t, "a heartbeat", isHeartbeat)
	net.stop(northAddress, gc)
	lost := r.waitForEvent(t, EventLost)
	if codeOf(lost.Err) != codes.Unavailable {
		t.Errorf("lost: %v, want unavailable", lost.Err)
	}

	again := startGlobalController(t, false)
	net.put(northAddress, again)
	r.waitForEvent(t, EventRecovered)
	if got := again.waitForCall(t, "a heartbeat", isHeartbeat); got.stream {
		t.Errorf("heartbeat %+v, want a unary call, because the new server has no streams", got)
	}

	net.stop(northAddress, again)
	r.waitForEvent(t, EventLost)
	last := startGlobalController(t, true)
	net.put(northAddress, last)
	r.waitForEvent(t, EventRecovered)
	if got := last.waitForCall(t, "a heartbeat", isHeartbeat); !got.stream {
		t.Errorf("heartbeat %+v, want a new stream", got)
	}
}

func TestClient_LeavesAnAddressAfterTwoUnavailable(t *testing.T) {
	t.Parallel()
	first, second := startGlobalController(t, false), startGlobalController(t, false)
	cfg := testConfig(first.address, second.address)
	var mu sync.Mutex
	tries := 0
	first.setResponse(func(receivedCall) error {
		mu.Lock()
		defer mu.Unlock()
		tries++
		return retryInfo(codes.Unavailable, 10*time.Millisecond)
	})

	startClient(t, cfg)
	second.waitForCall(t, "the registration at the second", hasMethod(methodRegister))
	mu.Lock()
	defer mu.Unlock()
	if tries != 2 {
		t.Errorf("the first was tried %d times, want 2", tries)
	}
}

func retryInfo(code codes.Code, after time.Duration) error {
	s, err := status.New(code, "Later").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(after)})
	if err != nil {
		return err
	}
	return s.Err()
}

// TestClient_RetryInfo would take 2.5 s without the RetryInfo, and 10 s with a default backoff that has grown.
func TestClient_RetryInfo(t *testing.T) {
	t.Parallel()
	gc := startGlobalController(t, true)
	tries := 0
	gc.setResponse(func(receivedCall) error {
		if tries++; tries <= 5 {
			return retryInfo(codes.ResourceExhausted, 120*time.Millisecond)
		}
		return nil
	})
	began := time.Now()
	r := startClient(t, testConfig(gc.address))
	r.waitForEvent(t, EventRegistered)
	if took := time.Since(began); took < 600*time.Millisecond || took > 3*time.Second {
		t.Errorf("registered after %v, want slightly more than 600 ms", took)
	}
}

func TestClient_UnresponsiveAddress(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })

	gc := startGlobalController(t, true)
	for name, times := range map[string][2]time.Duration{ // The timeouts of the call and of the connection attempt.
		"the attempt ends first": {10 * time.Second, 100 * time.Millisecond},
		"the call ends first":    {100 * time.Millisecond, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			connection, err := newConnection([]string{listener.Addr().String(), gc.address}, nil, times[1])
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = connection.Close() })

			cfg := testConfig()
			cfg.Connection, cfg.CallTimeout = connection, times[0]
			r := startClient(t, cfg)
			r.waitForEvent(t, EventRegistered)
		})
	}
}

func TestClient_FrozenServer(t *testing.T) {
	t.Parallel()
	for name, streams := range map[string]bool{"streams": true, "calls": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, second := startGlobalController(t, streams), startGlobalController(t, streams)
			thaw := make(chan struct{})
			cfg := testConfig(first.address, second.address)
			cfg.CallTimeout = 200 * time.Millisecond

			r := startClient(t, cfg)
			first.waitForCall(t, "a heartbeat", isHeartbeat)
			first.setResponse(func(receivedCall) error {
				<-thaw
				return nil
			})
			lost := r.waitForEvent(t, EventLost)
			if codeOf(lost.Err) != codes.DeadlineExceeded {
				t.Errorf("lost: %v, want a timeout", lost.Err)
			}

			second.waitForCall(t, "a heartbeat at the second", isHeartbeat)
			r.waitForEvent(t, EventRecovered)
			close(thaw)
		})
	}
}
