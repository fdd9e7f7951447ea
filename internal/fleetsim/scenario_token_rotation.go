package fleetsim

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
)

func tokenRotation() Scenario {
	return Scenario{
		Name:    "token-rotation",
		Summary: "the auth controller changes its signing key twice; then it revokes all keys but a new one",
		Needs:   Needs{OwnGC: true, OwnTokens: true},
		Run: func(ctx context.Context, env *Environment) error {
			life := 6 * env.Timing.Fast
			env.AuthController.SetTokenLife(life)
			if _, err := env.StartFleet(ctx); err != nil {
				return err
			}

			startedAt := time.Now()
			total := len(env.Fleet.Controllers)
			for _, key := range []int{2, 3} {
				if err := env.AuthController.RotateKey(true); err != nil {
					return err
				}

				env.SetPhase("signing key %d; tokens are valid for %s", key, formatDuration(life))
				// After a token's life all controllers have a token with the new key.
				rotatedAt := time.Now()
				if err := env.Wait(ctx, life); err != nil {
					return err
				}
				renewed := env.countRenewedSince(rotatedAt)
				env.RecordCheck(fmt.Sprintf("controllers with a token of key %d", key),
					fmt.Sprintf("all %d", total), fmt.Sprint(renewed), renewed == total)
			}
			env.CheckNoFailedCalls(startedAt)

			env.SetPhase("all keys but a new one are revoked")
			revokedAt := time.Now()
			if err := env.AuthController.RotateKey(false); err != nil {
				return err
			}
			if err := env.Wait(ctx, life); err != nil {
				return err
			}

			refused := env.Series.CountsBetween(revokedAt, time.Now()).Codes[codes.Unauthenticated]
			env.RecordCheck("calls refused after the revocation",
				fmt.Sprintf("≤ %d (one for each controller)", total), fmt.Sprint(refused), refused <= total)
			return env.CheckFleet(ctx)
		},
	}
}
