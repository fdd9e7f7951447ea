package fleetsim

import (
	"context"
	"time"
)

func regionBlackout() Scenario {
	return Scenario{
		Name:    "region-blackout",
		Summary: "all controllers of a region crash at once, and start again later",
		Run: func(ctx context.Context, env *Environment) error {
			if _, err := env.StartFleet(ctx); err != nil {
				return err
			}

			region := env.opts.regionNames()[0]
			before := env.History.LastID()
			affected := env.Fleet.InRegion(region)
			env.SetPhase("the %d controllers of %s crash", len(affected), region)
			if err := env.Fleet.Crash(affected); err != nil {
				return err
			}
			if err := env.CheckMarkedStale(ctx, affected, before, "the region"); err != nil {
				return err
			}

			env.SetPhase("the controllers of %s start again", region)
			restartedAt := time.Now()
			env.ResetFirstAcks(restartedAt)
			if err := env.Fleet.Start(ctx, affected, 0); err != nil {
				return err
			}
			if err := env.CheckHeartbeatsResume(ctx, restartedAt, "the region's return"); err != nil {
				return err
			}
			return env.CheckFleet(ctx)
		},
	}
}
