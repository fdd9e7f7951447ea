package fleetsim

import (
	"context"
	"fmt"
	"time"

	"darktower.example/global-controller/pkg/devauth"
)

// After an outage of the auth controller the SDK may be waiting for an answer that never comes, which it does for 10 s,
// and then wait up to 30 s before it asks again: little of a token's usual life.
const renewalBound = 40*time.Second + allowance

func acOutage() Scenario {
	return Scenario{
		Name: "ac-outage", Summary: "the auth controller answers errors, then garbage, then nothing, while every token is due for renewal", Needs: Needs{Own: true, Tokens: true},
		Run: func(ctx context.Context, w *World) error {
			if _, err := w.Settle(ctx); err != nil {
				return err
			}
			began := time.Now()
			w.AC.Become(acErrors)
			// Tokens are renewed when 60 to 80 % of their life is over. As that is too long to wait for, the controllers' clocks
			// are set ahead; the clock that nobody sets tells the SDK that the tokens are still good.
			for _, mc := range w.Fleet.MCs {
				mc.tokens.Jump(devauth.TokenLife * 9 / 10)
			}
			w.Note("tokens live %v; the controllers' clocks were set ahead by nine tenths of it, so that all were due at once", devauth.TokenLife)
			for _, mood := range []acMood{acErrors, acGarbage, acSilent} {
				part := 2 * w.Timing.Fast
				w.Phase("the auth controller answers %s for %s", mood, short(part))
				w.AC.Become(mood)
				if err := w.Wait(ctx, part); err != nil {
					return err
				}
			}
			asked, renewed := w.AC.Refused(), w.renewedSince(began)
			w.Promise("tokens asked for, and got, meanwhile", "some, and 0", fmt.Sprintf("%d, and %d", asked, renewed), asked > 0 && renewed == 0)
			w.AC.Become(acWell)
			back := time.Now()
			w.Phase("the auth controller is back")
			w.Until(ctx, renewalBound, func() bool { return w.renewedSince(back) == len(w.Fleet.MCs) })
			took := time.Since(back)
			renewed = w.renewedSince(back)
			w.Promise("all have renewed after it is back", fmt.Sprintf("%d within %s (10 s for an answer + 30 s until asked again + %s)", len(w.Fleet.MCs), short(renewalBound), short(allowance)),
				fmt.Sprintf("%d within %s", renewed, short(took)), renewed == len(w.Fleet.MCs))
			w.CheckNoFailure(began)
			return w.CheckFleet(ctx)
		},
	}
}
