package fleetsim

import (
	"context"
)

func crash10Percent() Scenario {
	return Scenario{
		Name:    "crash-10-percent",
		Summary: "one controller in ten crashes",
		Run: func(ctx context.Context, env *Environment) error {
			if _, err := env.StartFleet(ctx); err != nil {
				return err
			}

			crashed := env.Fleet.PickRandom(0.1, env.Random)
			before := env.History.LastID()
			env.SetPhase("%d controllers crash", len(crashed))
			if err := env.Fleet.Crash(crashed); err != nil {
				return err
			}
			if err := env.CheckMarkedStale(ctx, crashed, before, "the crashed controllers"); err != nil {
				return err
			}
			return env.CheckFleet(ctx)
		},
	}
}
