package fleetsim

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
)

func tokenRotation() Scenario {
	return Scenario{
		Name: "token-rotation", Summary: "the auth controller changes its signing key twice; then it revokes all keys but a new one", Needs: Needs{Own: true, Tokens: true},
		Run: func(ctx context.Context, w *World) error {
			life := 6 * w.Timing.Fast
			w.AC.SetTokenLife(life)
			if _, err := w.Settle(ctx); err != nil {
				return err
			}
			began := time.Now()
			for i := range 2 {
				if err := w.AC.Rotate(true); err != nil {
					return err
				}
				w.Phase("signing key %d; tokens live %s", i+2, short(life))
				// Until everybody has a token by the new key.
				rotated := time.Now()
				if err := w.Wait(ctx, life); err != nil {
					return err
				}
				renewed := w.renewedSince(rotated)
				w.Promise(fmt.Sprintf("controllers with a token by key %d", i+2), fmt.Sprintf("all %d", len(w.Fleet.MCs)), fmt.Sprint(renewed), renewed == len(w.Fleet.MCs))
			}
			w.CheckNoFailure(began)
			w.Phase("all keys but a new one are revoked")
			revoked := time.Now()
			if err := w.AC.Rotate(false); err != nil {
				return err
			}
			if err := w.Wait(ctx, life); err != nil {
				return err
			}
			refused := w.Series.Between(revoked, time.Now()).Codes[codes.Unauthenticated]
			w.Promise("refusals after the revocation", fmt.Sprintf("≤ %d (one for each)", len(w.Fleet.MCs)), fmt.Sprint(refused), refused <= len(w.Fleet.MCs))
			return w.CheckFleet(ctx)
		},
	}
}
