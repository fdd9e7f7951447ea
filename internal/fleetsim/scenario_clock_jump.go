package fleetsim

import (
	"context"
	"fmt"
	"time"
)

func clockJump() Scenario {
	return Scenario{
		Name: "clock-jump", Summary: "the clocks of half the controllers jump an hour ahead, those of the others an hour back", Needs: Needs{Own: true, Tokens: true},
		Run: func(ctx context.Context, w *World) error {
			life := 10 * w.Timing.Fast
			w.AC.SetTokenLife(life)
			if _, err := w.Settle(ctx); err != nil {
				return err
			}
			w.Note("only the clocks of the controllers jump: the database's, which is the one that counts for heartbeats, cannot be set here")
			w.Phase("the clocks jump")
			jumped := time.Now()
			w.MarkAll(jumped)
			ahead := 0
			for i, mc := range w.Fleet.MCs {
				if i%2 == 0 {
					mc.tokens.Jump(time.Hour)
					ahead++
				} else {
					mc.tokens.Jump(-time.Hour)
				}
			}
			if err := w.CheckHeard(ctx, jumped, "the jump"); err != nil {
				return err
			}
			// Longer than a token lives, so that each has to be renewed by a clock that is wrong.
			watch := life + w.Timing.Fast
			w.Phase("tokens are renewed by clocks that are wrong, for %s", short(watch))
			if err := w.Wait(ctx, time.Until(jumped.Add(watch))); err != nil {
				return err
			}
			renewed := w.renewedSince(jumped)
			w.Promise("controllers that renewed their token", fmt.Sprintf("all %d", len(w.Fleet.MCs)), fmt.Sprint(renewed), renewed == len(w.Fleet.MCs))
			w.CheckNoFailure(jumped)
			return w.CheckFleet(ctx)
		},
	}
}

// renewedSince counts the controllers that have used another token since a time.
func (w *World) renewedSince(at time.Time) (n int) {
	for _, mc := range w.Fleet.MCs {
		if mc.tokens.Renewed().After(at) {
			n++
		}
	}
	return n
}
