package client

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
)

// fakeTransport is a transport with settable responses, which it returns at once.
type fakeTransport struct {
	respond func(madeCall) (callResponse, error)
	calls   []madeCall
}

// madeCall is a call of a registration loop.
type madeCall struct {
	method string
	at     time.Time
	report heartbeatReport
}

func (f *fakeTransport) record(ctx context.Context, c madeCall) (callResponse, error) {
	c.at = time.Now()
	f.calls = append(f.calls, c)
	if ctx.Err() != nil {
		return callResponse{}, &failure{code: codes.Canceled, err: ctx.Err()}
	}
	if f.respond == nil {
		return callResponse{}, nil
	}
	return f.respond(c)
}

func (f *fakeTransport) register(ctx context.Context) (callResponse, error) {
	return f.record(ctx, madeCall{method: methodRegister})
}

func (f *fakeTransport) heartbeat(ctx context.Context, r heartbeatReport) (callResponse, error) {
	return f.record(ctx, madeCall{method: r.method(), report: r})
}

func (f *fakeTransport) deregister(ctx context.Context) error {
	_, err := f.record(ctx, madeCall{method: methodDeregister})
	return err
}

func (*fakeTransport) close() {}

func (f *fakeTransport) methods() []string {
	var methods []string
	for _, c := range f.calls {
		methods = append(methods, c.method)
	}
	return methods
}

func (f *fakeTransport) count(method string) int {
	n := 0
	for _, c := range f.calls {
		if c.method == method {
			n++
		}
	}
	return n
}

// gaps returns the times between calls.
func (f *fakeTransport) gaps() []time.Duration {
	var gaps []time.Duration
	for i := 1; i < len(f.calls); i++ {
		gaps = append(gaps, f.calls[i].at.Sub(f.calls[i-1].at))
	}
	return gaps
}

func newTestFailure(code codes.Code) error { return &failure{code: code, message: "test failure"} }

// testLoop is a registration loop with its calls and events.
type testLoop struct {
	*registrationLoop
	transport *fakeTransport
	events    []Event
}

func newTestLoop(t *testing.T, change func(*Config)) *testLoop {
	t.Helper()
	calls := &fakeTransport{}
	loop := &testLoop{transport: calls}
	cfg := testConfig("127.0.0.1:1")
	cfg.OnEvent = func(e Event) { loop.events = append(loop.events, e) }
	if change != nil {
		change(&cfg)
	}
	client, err := New(cfg)
	if err != nil {
		t.Fatalf("New() = %v", err)
	}
	loop.registrationLoop = newRegistrationLoop(&client.cfg, calls, rand.Float64)
	return loop
}

func (loop *testLoop) eventKinds() []EventKind {
	var kinds []EventKind
	for _, e := range loop.events {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

// crashAfter runs the loop for d, and then abandons it.
func (loop *testLoop) crashAfter(t *testing.T, d time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	timer := time.AfterFunc(d, func() { cancel(ErrAbandon) })
	defer timer.Stop()
	return loop.run(ctx)
}

func checkWithin(t *testing.T, what string, got, least, most time.Duration) {
	t.Helper()
	if got < least || got > most {
		t.Errorf("%s = %v, want %v to %v", what, got, least, most)
	}
}
