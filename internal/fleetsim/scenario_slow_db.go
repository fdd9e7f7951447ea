package fleetsim

import (
	"context"
	"time"
)

func slowDB() Scenario {
	return Scenario{
		Name:    "slow-db",
		Summary: "the store is slow for 3 × the staleness threshold, and then as before",
		Needs:   Needs{OwnGC: true},
		Run: func(ctx context.Context, env *Environment) error {
			if _, err := env.StartFleet(ctx); err != nil {
				return err
			}

			env.AddNote("%s", env.Store.DescribeSlowness())
			span := env.Timing.outageSpan()
			env.SetPhase("the store is slow for %s", formatDuration(span))
			slowSince := time.Now()
			if err := env.Store.SlowDown(); err != nil {
				return err
			}

			if err := env.Wait(ctx, span); err != nil {
				return err
			}
			during := env.Series.CountsBetween(slowSince, time.Now())
			env.AddNote("while the store was slow, half of the heartbeats took up to %s, 99 %% up to %s",
				formatDuration(during.Quantile(0.5)), formatDuration(during.Quantile(0.99)))

			if err := env.Store.Restore(); err != nil {
				return err
			}
			recoveredAt := time.Now()
			env.ResetFirstAcks(recoveredAt)
			if err := env.CheckHeartbeatsResume(ctx, recoveredAt, "the store's recovery"); err != nil {
				return err
			}
			env.CheckNoFailedCalls(slowSince)
			return env.CheckAfterOutage(ctx, recoveredAt)
		},
	}
}
