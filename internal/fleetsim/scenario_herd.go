package fleetsim

import (
	"context"
	"time"
)

func herd() Scenario {
	return Scenario{
		Name: "herd", Summary: "all controllers lose their connections and register as new processes at the same moment",
		Run: func(ctx context.Context, w *World) error {
			steady, err := w.Settle(ctx)
			if err != nil {
				return err
			}
			w.Phase("all %d controllers end and begin again at once", len(w.Fleet.MCs))
			if err := w.Fleet.Abandon(w.Fleet.MCs); err != nil {
				return err
			}
			stampede := time.Now()
			w.MarkAll(stampede)
			if err := w.Fleet.Begin(ctx, w.Fleet.MCs, 0); err != nil {
				return err
			}
			if err := w.CheckHeard(ctx, stampede, "the stampede"); err != nil {
				return err
			}
			// The registrations come at once, that is the herd; the heartbeats that follow must not.
			if err := w.CheckPeak(ctx, stampede, steady, "the stampede"); err != nil {
				return err
			}
			counts := w.Series.Between(stampede, time.Now())
			w.Note("%d registrations, and %d calls failed%s", counts.Registrations, counts.Failed(), codesOf(counts))
			return w.CheckAfterOutage(ctx, stampede)
		},
	}
}
