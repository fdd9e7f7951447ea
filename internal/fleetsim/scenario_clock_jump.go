package fleetsim

import (
	"context"
	"fmt"
	"time"
)

func clockJump() Scenario {
	return Scenario{
		Name:    "clock-jump",
		Summary: "the clocks of half the controllers jump an hour ahead, those of the others an hour back",
		Needs:   Needs{OwnGC: true, OwnTokens: true},
		Run: func(ctx context.Context, env *Environment) error {
			life := 10 * env.Timing.Fast
			env.AuthController.SetTokenLife(life)
			if _, err := env.StartFleet(ctx); err != nil {
				return err
			}

			env.AddNote("only the controllers' clocks jump; heartbeat times come from the database's clock, which cannot be set here")
			env.SetPhase("the clocks jump")
			jumpedAt := time.Now()
			env.ResetFirstAcks(jumpedAt)

			for i, mc := range env.Fleet.Controllers {
				if i%2 == 0 {
					mc.tokens.ShiftClock(time.Hour)
				} else {
					mc.tokens.ShiftClock(-time.Hour)
				}
			}
			if err := env.CheckHeartbeatsResume(ctx, jumpedAt, "the jump"); err != nil {
				return err
			}

			// Longer than the life of a token, so that each controller renews its token by a wrong clock.
			span := life + env.Timing.Fast
			env.SetPhase("tokens are renewed by wrong clocks, for %s", formatDuration(span))
			if err := env.Wait(ctx, time.Until(jumpedAt.Add(span))); err != nil {
				return err
			}
			total, renewed := len(env.Fleet.Controllers), env.countRenewedSince(jumpedAt)
			env.RecordCheck("controllers that renewed their token", fmt.Sprintf("all %d", total), fmt.Sprint(renewed), renewed == total)

			env.CheckNoFailedCalls(jumpedAt)
			return env.CheckFleet(ctx)
		},
	}
}
