package fleetsim

import (
	"context"
	"time"
)

func herd() Scenario {
	return Scenario{
		Name:    "herd",
		Summary: "all controllers lose their connections and register as new processes at the same moment",
		Run: func(ctx context.Context, env *Environment) error {
			steady, err := env.StartFleet(ctx)
			if err != nil {
				return err
			}

			env.SetPhase("all %d controllers crash and start again at once", len(env.Fleet.Controllers))
			if err := env.Fleet.Crash(env.Fleet.Controllers); err != nil {
				return err
			}
			restartedAt := time.Now()
			env.ResetFirstAcks(restartedAt)
			if err := env.Fleet.Start(ctx, env.Fleet.Controllers, 0); err != nil {
				return err
			}

			const event = "the mass restart"
			if err := env.CheckHeartbeatsResume(ctx, restartedAt, event); err != nil {
				return err
			}
			// The registrations arrive at once. The heartbeats that follow must not.
			if err := env.CheckPeakRate(ctx, restartedAt, steady, event); err != nil {
				return err
			}

			counts := env.Series.CountsBetween(restartedAt, time.Now())
			env.AddNote("%d registrations, and %d calls failed%s", counts.Registrations, counts.Failed(), formatCodes(counts))
			return env.CheckAfterOutage(ctx, restartedAt)
		},
	}
}
