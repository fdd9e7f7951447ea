package fleetsim

import "context"

func duplicateID() Scenario {
	return Scenario{
		Name:    "duplicate-id",
		Summary: "second processes start with the ids of some controllers that run",
		Run: func(ctx context.Context, env *Environment) error {
			if _, err := env.StartFleet(ctx); err != nil {
				return err
			}

			first := env.Fleet.PickRandom(0.05, env.Random)
			second, err := env.StartSecondProcesses(ctx, first)
			if err != nil {
				return err
			}
			before := env.History.LastID()
			if err := env.CheckSuperseded(ctx, first, second, before); err != nil {
				return err
			}
			return env.CheckFleet(ctx)
		},
	}
}
