package fleetsim

import (
	"context"
	"fmt"
	"time"

	"darktower.example/global-controller/pkg/devauth"
)

// renewalLimit is the longest time until a token is renewed after an outage of the auth controller. At its end the SDK may
// wait 10 s for a response that never arrives, and then up to 30 s before it retries. Both are short against a token's life.
const renewalLimit = 40*time.Second + margin

func acOutage() Scenario {
	return Scenario{
		Name:    "ac-outage",
		Summary: "the auth controller returns errors, then invalid responses, then none, while every token is due for renewal",
		Needs:   Needs{OwnGC: true, OwnTokens: true},
		Run: func(ctx context.Context, env *Environment) error {
			if _, err := env.StartFleet(ctx); err != nil {
				return err
			}
			faultAt := time.Now()
			env.AuthController.SetResponse(responseErrors)

			// Tokens are renewed after 60 to 80 % of their life, which would take too long. So the controllers' clocks are set
			// ahead. The SDK uses the monotonic clock, which is not set, for a token's validity, so the tokens remain valid.
			for _, mc := range env.Fleet.Controllers {
				mc.tokens.ShiftClock(devauth.TokenLife * 9 / 10)
			}
			env.AddNote("tokens are valid for %v; the controllers' clocks were set ahead by nine tenths of it, so that all were due at once",
				devauth.TokenLife)

			for _, response := range []authResponse{responseErrors, responseInvalid, responseNone} {
				span := 2 * env.Timing.Fast
				env.SetPhase("the auth controller returns %s for %s", response, formatDuration(span))
				env.AuthController.SetResponse(response)
				if err := env.Wait(ctx, span); err != nil {
					return err
				}
			}
			requests, renewed := env.AuthController.FailedTokenRequests(), env.countRenewedSince(faultAt)
			env.RecordCheck("tokens requested, and received, during the outage", "some, and 0",
				fmt.Sprintf("%d, and %d", requests, renewed), requests > 0 && renewed == 0)

			env.AuthController.SetResponse(responseNormal)
			recoveredAt := time.Now()
			env.SetPhase("waiting for new tokens after the outage")
			total := len(env.Fleet.Controllers)
			env.WaitUntil(ctx, renewalLimit, func() bool { return env.countRenewedSince(recoveredAt) == total })
			took := time.Since(recoveredAt)
			renewed = env.countRenewedSince(recoveredAt)
			env.RecordCheck("controllers with a new token after the outage",
				fmt.Sprintf("%d within %s (10 s for a response + 30 s until a retry + %s)",
					total, formatDuration(renewalLimit), formatDuration(margin)),
				fmt.Sprintf("%d within %s", renewed, formatDuration(took)),
				renewed == total)

			env.CheckNoFailedCalls(faultAt)
			return env.CheckFleet(ctx)
		},
	}
}
