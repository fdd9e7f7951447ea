package endpoints

import (
	"context"
	"testing"
	"time"

	"github.com/go-kit/log"

	"darktower.example/global-controller/service"
)

// acceptingStore has every controller and accepts every heartbeat.
type acceptingStore struct{ service.Store }

func (acceptingStore) Heartbeat(context.Context, service.HeartbeatWrite) (service.HeartbeatResult, error) {
	return service.HeartbeatResult{At: time.Unix(7, 0)}, nil
}
func (acceptingStore) IsRegistered(context.Context, string) (bool, error) { return true, nil }

type allowAll struct{}

func (allowAll) Authenticate(context.Context, []string) (service.Caller, error) {
	return service.Caller{Subject: "client", Scopes: []string{"mc:register"}}, nil
}
func (allowAll) IsCached([]string) bool     { return true }
func (allowAll) IsWellFormed([]string) bool { return true }

type discardObserver struct{}

func (discardObserver) ObserveTransition(service.Transition) {}
func (discardObserver) ObserveCommit(string)                 {}
func (discardObserver) ObserveFailure(string)                {}
func (discardObserver) ObserveSuperseded()                   {}

// heartbeatPath returns the endpoint of a heartbeat with all middleware, without a transport and a database.
func heartbeatPath(t testing.TB) (context.Context, Endpoint[service.FastHeartbeat, service.Acknowledgement]) {
	t.Helper()
	limiter := func() *Limiter {
		l, err := NewLimiter(600, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}

	ignore := func(string) {}
	e := New(service.New(acceptingStore{}, service.Intervals{}, discardObserver{}, nil), Chain(
		Observe(func(context.Context, string, string, error, time.Duration) {}),
		Log(LogConfig{Logger: log.NewNopLogger(), Outcome: otherOutcome, TraceID: untraced}),
		AnnotateSpan(nil),
		LimitAddresses(limiter(), allowAll{}, ignore),
		Authenticate(allowAll{}, AuthPolicy{MCScopes: []string{"mc:register"}}),
		RequireReady(func() bool { return true }),
		LimitCallers(limiter(), acceptingStore{}, ignore),
		Deadline(time.Second),
	))

	return WithCall(context.Background(), &Call{Transport: "grpc", Address: "10.0.0.1"}), e.FastHeartbeat
}

func otherOutcome(error) (string, OutcomeClass) { return "OTHER", OtherOutcome }

// maxHeartbeatAllocations is the limit of allocations of a heartbeat between its transport and its store.
const maxHeartbeatAllocations = 10

func TestHeartbeatPath_Allocations(t *testing.T) {
	ctx, endpoint := heartbeatPath(t)
	h := service.FastHeartbeat{ControllerID: "mc", Load: &service.LoadReport{}, Health: service.HealthHealthy}
	got := testing.AllocsPerRun(1000, func() {
		if _, err := endpoint.Call(ctx, h, nil); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("%.0f allocations", got)
	if got > maxHeartbeatAllocations {
		t.Errorf("a heartbeat allocates %.0f times, want at most %d", got, maxHeartbeatAllocations)
	}
}

func BenchmarkHeartbeatPath(b *testing.B) {
	ctx, endpoint := heartbeatPath(b)
	h := service.FastHeartbeat{ControllerID: "mc", Load: &service.LoadReport{}, Health: service.HealthHealthy}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := endpoint.Call(ctx, h, nil); err != nil {
			b.Fatal(err)
		}
	}
}
