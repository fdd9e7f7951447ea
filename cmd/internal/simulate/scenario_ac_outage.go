package simulate

import (
	"context"
	"fmt"
	"time"
)

func acOutage() Scenario {
	return Scenario{
		Name: "ac-outage", Summary: "the auth controller answers errors, then garbage, then nothing, while tokens are due for renewal", Needs: Needs{Own: true, Tokens: 20},
		Run: func(ctx context.Context, w *World) error {
			began := time.Now()
			if _, err := w.Settle(ctx); err != nil {
				return err
			}
			// Tokens are renewed when 60 to 80 % of their life is over, which all of this lies across.
			life := w.tokenLife()
			from, part := began.Add(life/2+w.opts.Ramp), life/10
			w.Phase("until tokens are due for renewal")
			if err := w.Wait(ctx, time.Until(from)); err != nil {
				return err
			}
			broken := time.Now()
			for _, mood := range []acMood{acErrors, acGarbage, acSilent} {
				w.Phase("the auth controller answers %s for %s", mood, short(part))
				w.AC.Become(mood)
				if err := w.Wait(ctx, part); err != nil {
					return err
				}
			}
			w.AC.Become(acWell)
			back := time.Now()
			w.Phase("the auth controller is back; tokens have up to %s left", short(time.Until(began.Add(life+w.opts.Ramp))))
			waiting := len(w.Fleet.MCs) - w.renewedSince(broken)
			w.Promise("tokens renewed from a broken auth controller", "0", fmt.Sprint(len(w.Fleet.MCs)-waiting), waiting == len(w.Fleet.MCs))
			w.Until(ctx, time.Until(began.Add(life+w.opts.Ramp)), func() bool { return w.renewedSince(back) == len(w.Fleet.MCs) })
			renewed := w.renewedSince(back)
			w.Promise("controllers that renew before their token ends", fmt.Sprintf("all %d", len(w.Fleet.MCs)), fmt.Sprintf("%d, within %s", renewed, short(time.Since(back))), renewed == len(w.Fleet.MCs))
			w.CheckNoFailure(broken)
			return w.CheckFleet(ctx)
		},
	}
}
