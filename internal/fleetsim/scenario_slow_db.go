package fleetsim

import (
	"context"
	"time"
)

func slowDB() Scenario {
	return Scenario{
		Name: "slow-db", Summary: "the store is slow for 3 × the staleness threshold, and then as before", Needs: Needs{Own: true},
		Run: func(ctx context.Context, w *World) error {
			if _, err := w.Settle(ctx); err != nil {
				return err
			}
			w.Note("%s", w.Store.HowSlow())
			slow := w.Timing.outage()
			w.Phase("the store is slow for %s", short(slow))
			began := time.Now()
			if err := w.Store.Slow(); err != nil {
				return err
			}
			if err := w.Wait(ctx, slow); err != nil {
				return err
			}
			during := w.Series.Between(began, time.Now())
			w.Note("while it was slow half of the heartbeats took %s, 1 %% more than %s", short(during.Quantile(0.5)), short(during.Quantile(0.99)))
			if err := w.Store.Heal(); err != nil {
				return err
			}
			healed := time.Now()
			w.MarkAll(healed)
			if err := w.CheckHeard(ctx, healed, "it is fast again"); err != nil {
				return err
			}
			w.CheckNoFailure(began)
			return w.CheckAfterOutage(ctx, healed)
		},
	}
}
