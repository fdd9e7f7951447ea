package fleetsim

import (
	"context"
	"time"
)

func regionBlackout() Scenario {
	return Scenario{
		Name: "region-blackout", Summary: "all controllers of a region die at once, and come back later",
		Run: func(ctx context.Context, w *World) error {
			if _, err := w.Settle(ctx); err != nil {
				return err
			}
			region, before := w.opts.regionNames()[0], w.History.Last()
			dark := w.Fleet.In(region)
			w.Phase("%s goes dark: %d controllers", region, len(dark))
			if err := w.Fleet.Abandon(dark); err != nil {
				return err
			}
			if err := w.CheckDeaths(ctx, dark, before, "the region"); err != nil {
				return err
			}
			w.Phase("%s comes back", region)
			returned := time.Now()
			w.MarkAll(returned)
			if err := w.Fleet.Begin(ctx, dark, 0); err != nil {
				return err
			}
			if err := w.CheckHeard(ctx, returned, "the region's return"); err != nil {
				return err
			}
			return w.CheckFleet(ctx)
		},
	}
}
