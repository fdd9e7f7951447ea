package fleetsim

import (
	"context"
	"fmt"
	"time"
)

func gcRestart() Scenario {
	return Scenario{
		Name: "gc-restart", Summary: "the Global Controller is killed (kill -9) and started again after 3 × the staleness threshold", Needs: Needs{Own: true},
		Run: func(ctx context.Context, w *World) error {
			steady, err := w.Settle(ctx)
			if err != nil {
				return err
			}
			outage := w.Timing.outage()
			w.Phase("the Global Controller is dead for %s", short(outage))
			if err := w.GC.Kill(); err != nil {
				return err
			}
			if err := w.Wait(ctx, outage); err != nil {
				return err
			}
			w.Phase("the Global Controller starts")
			// Its port is open some time before it is ready. A heartbeat that it takes then counts as heard at once.
			launched := time.Now()
			w.MarkAll(launched)
			if err := w.GC.Start(ctx); err != nil {
				return err
			}
			ready := time.Now()
			w.Note("it was ready %s after its start; the time to be heard is counted from then, the rate from its start", short(ready.Sub(launched)))
			if err := w.CheckHeard(ctx, ready, "it is ready"); err != nil {
				return err
			}
			if err := w.CheckPeak(ctx, launched, steady, "its start"); err != nil {
				return err
			}
			return w.CheckAfterOutage(ctx, ready)
		},
	}
}

// CheckAfterOutage waits until the checker, which holds still for a threshold after an outage, has looked again.
func (w *World) CheckAfterOutage(ctx context.Context, since time.Time) error {
	patience := w.Timing.found()
	w.Phase("whom the checker calls dead, until %s after the outage", short(patience))
	if err := w.Wait(ctx, time.Until(since.Add(patience))); err != nil {
		return err
	}
	w.Note("false deaths were looked for until %s after the outage (%s)", short(time.Since(since)), fmt.Sprintf("threshold + checker's interval + %s", short(allowance)))
	return w.CheckFleet(ctx)
}
