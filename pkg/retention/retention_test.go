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

// keeper answers from a list, and remembers when it was asked.
type keeper struct {
	began   time.Time
	answers []any // A result or an error.
	asked   []time.Duration
	policy  service.RetentionPolicy
}

func (k *keeper) Prune(_ context.Context, policy service.RetentionPolicy) (service.RetentionResult, error) {
	k.asked, k.policy = append(k.asked, time.Since(k.began)), policy
	if len(k.answers) == 0 {
		return service.RetentionResult{Ran: true}, nil
	}
	answer := k.answers[0]
	k.answers = k.answers[1:]
	if err, ok := answer.(error); ok {
		return service.RetentionResult{}, err
	}
	return answer.(service.RetentionResult), nil
}

// TestRun holds when passes follow each other: at once while there is more, a minute later otherwise.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		down := errors.New("down")
		store := &keeper{began: time.Now(), answers: []any{
			service.RetentionResult{Ran: true, Pruned: 1000, More: true},
			service.RetentionResult{Ran: true, Retired: []service.Transition{{ControllerID: "mc"}}},
			down,
		}}
		var (
			policy   = service.RetentionPolicy{History: time.Hour, Actor: "gc-1"}
			observed []error
		)
		err := Run(ctx, Config{
			Store: store, Policy: policy, Logger: log.NewNopLogger(),
			Serviceable: func() bool { return time.Since(store.began) > 10*time.Second },
			Observe:     func(_ service.RetentionResult, err error) { observed = append(observed, err) },
		})
		if err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
		want := []time.Duration{12 * time.Second, 12*time.Second + pause, 72*time.Second + pause, 132*time.Second + pause, 192*time.Second + pause, 252*time.Second + pause}
		if diff := cmp.Diff(want, store.asked); diff != "" {
			t.Errorf("passes (-want +got):\n%s", diff)
		}
		if len(observed) != len(want) || !errors.Is(observed[2], down) || store.policy != policy {
			t.Errorf("observed %v under %+v, want each pass, and the policy as it was given", observed, store.policy)
		}
	})
}
