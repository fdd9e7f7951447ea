package fleetsim

import "context"

func duplicateID() Scenario {
	return Scenario{
		Name: "duplicate-id", Summary: "second processes start by the ids of some that run",
		Run: func(ctx context.Context, w *World) error {
			if _, err := w.Settle(ctx); err != nil {
				return err
			}
			first := w.Fleet.Some(0.05, w.Random)
			second, err := w.takeOver(ctx, first)
			if err != nil {
				return err
			}
			before := w.History.Last()
			if err := w.CheckSuperseded(ctx, first, second, before); err != nil {
				return err
			}
			return w.CheckFleet(ctx)
		},
	}
}
