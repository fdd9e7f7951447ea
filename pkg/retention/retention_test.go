package retention

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-kit/log"
	"github.com/google/go-cmp/cmp"

	"darktower.example/global-controller/service"
)

// fakePruner returns results from a list, and records when it was called.
type fakePruner struct {
	began   time.Time
	results []any // each a result or an error
	calls   []time.Duration
	policy  service.RetentionPolicy
}

func (p *fakePruner) Prune(_ context.Context, policy service.RetentionPolicy) (service.RetentionResult, error) {
	p.calls = append(p.calls, time.Since(p.began))
	p.policy = policy
	if len(p.results) == 0 {
		return service.RetentionResult{Ran: true}, nil
	}

	result := p.results[0]
	p.results = p.results[1:]
	if err, ok := result.(error); ok {
		return service.RetentionResult{}, err
	}
	return result.(service.RetentionResult), nil
}

// TestRun_Schedule checks the time between passes: the batch pause while more is left to remove, and one minute otherwise.
func TestRun_Schedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		down := errors.New("down")

		store := &fakePruner{began: time.Now(), results: []any{
			service.RetentionResult{Ran: true, Pruned: 1000, More: true},
			service.RetentionResult{Ran: true, Retired: []service.Transition{{ControllerID: "mc"}}},
			down,
		}}
		var (
			policy   = service.RetentionPolicy{History: time.Hour, Actor: "gc-1"}
			observed []error
		)

		err := Run(ctx, Config{
			Store:         store,
			Policy:        policy,
			Logger:        log.NewNopLogger(),
			IsServiceable: func() bool { return time.Since(store.began) > 10*time.Second },
			Observe:       func(_ service.RetentionResult, err error) { observed = append(observed, err) },
		})
		if err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}

		want := []time.Duration{
			12 * time.Second,
			12*time.Second + batchPause,
			72*time.Second + batchPause,
			132*time.Second + batchPause,
			192*time.Second + batchPause,
			252*time.Second + batchPause,
		}
		if diff := cmp.Diff(want, store.calls); diff != "" {
			t.Errorf("passes (-want +got):\n%s", diff)
		}
		if len(observed) != len(want) || !errors.Is(observed[2], down) || store.policy != policy {
			t.Errorf("observed %v under %+v, want one result for each pass, and the configured policy", observed, store.policy)
		}
	})
}
