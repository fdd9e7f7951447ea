package fleetsim

import (
	"context"
	"time"
)

func gcRestart() Scenario {
	return Scenario{
		Name:    "gc-restart",
		Summary: "the Global Controller is killed (kill -9) and started again after 3 × the staleness threshold",
		Needs:   Needs{OwnGC: true},
		Run: func(ctx context.Context, env *Environment) error {
			steady, err := env.StartFleet(ctx)
			if err != nil {
				return err
			}

			outage := env.Timing.outageSpan()
			env.SetPhase("the Global Controller is down for %s", formatDuration(outage))
			if err := env.GlobalController.Kill(); err != nil {
				return err
			}
			if err := env.Wait(ctx, outage); err != nil {
				return err
			}

			env.SetPhase("the Global Controller starts")
			// Its port is open some time before it is ready. A heartbeat that it accepts in that time has a delay of 0.
			startedAt := time.Now()
			env.ResetFirstAcks(startedAt)
			if err := env.GlobalController.Start(ctx); err != nil {
				return err
			}
			readyAt := time.Now()
			env.AddNote("it was ready %s after its start; delays of heartbeats are measured from then, the peak rate from its start",
				formatDuration(readyAt.Sub(startedAt)))

			if err := env.CheckHeartbeatsResume(ctx, readyAt, "the restart"); err != nil {
				return err
			}
			if err := env.CheckPeakRate(ctx, startedAt, steady, "the restart"); err != nil {
				return err
			}
			return env.CheckAfterOutage(ctx, readyAt)
		},
	}
}
