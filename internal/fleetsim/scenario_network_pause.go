package fleetsim

import (
	"context"
	"time"
)

func networkPause() Scenario {
	return Scenario{
		Name: "network-pause", Summary: "the network swallows everything, for less than the staleness threshold and then for longer", Needs: Needs{Network: true},
		Run: func(ctx context.Context, w *World) error {
			if _, err := w.Settle(ctx); err != nil {
				return err
			}
			// Who beat an interval before the pause must still be within the threshold at its end, and be heard again.
			brief := w.Timing.Threshold - w.Timing.Fast - w.Timing.Fast/2
			if err := w.freeze(ctx, brief); err != nil {
				return err
			}
			if err := w.CheckHeard(ctx, w.thaw(), "a pause of "+short(brief)); err != nil {
				return err
			}
			if err := w.CheckNoFalseDeath(ctx); err != nil {
				return err
			}
			if err := w.Wait(ctx, 2*w.Timing.Fast); err != nil {
				return err
			}
			// Now nobody can be heard for longer than is allowed: the checker is right to call everybody stale. What is
			// promised is that all of them are back as soon as the network is.
			before, long := w.History.Last(), 2*w.Timing.Threshold
			w.Silence(true)
			if err := w.freeze(ctx, long); err != nil {
				return err
			}
			found := len(w.History.Since(before, func(t Transition) bool { return t.Cause == "stale" }))
			w.Note("%d of %d were called unhealthy in the pause of %s, as they should be: they could not be heard", found, len(w.Fleet.MCs), short(long))
			thawed := w.thaw()
			w.Silence(false)
			if err := w.CheckHeard(ctx, thawed, "a pause of "+short(long)); err != nil {
				return err
			}
			return w.CheckFleet(ctx)
		},
	}
}

func (w *World) freeze(ctx context.Context, d time.Duration) error {
	w.Phase("the network is paused for %s", short(d))
	w.Network.Freeze()
	return w.Wait(ctx, d)
}

// thaw returns when it was.
func (w *World) thaw() time.Time {
	now := time.Now()
	w.MarkAll(now)
	w.Network.Thaw()
	return now
}
