package fleetsim

import (
	"context"
)

func crash10Percent() Scenario {
	return Scenario{
		Name: "crash-10-percent", Summary: "one controller of ten dies without a word",
		Run: func(ctx context.Context, w *World) error {
			if _, err := w.Settle(ctx); err != nil {
				return err
			}
			dying, before := w.Fleet.Some(0.1, w.Random), w.History.Last()
			w.Phase("%d controllers die", len(dying))
			if err := w.Fleet.Abandon(dying); err != nil {
				return err
			}
			if err := w.CheckDeaths(ctx, dying, before, "the dead"); err != nil {
				return err
			}
			return w.CheckFleet(ctx)
		},
	}
}
