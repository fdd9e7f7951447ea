package fleetsim

import (
	"context"
	"time"
)

func networkPause() Scenario {
	return Scenario{
		Name:    "network-pause",
		Summary: "the network drops all packets, for less than the staleness threshold and then for longer",
		Needs:   Needs{NetworkProxy: true},
		Run: func(ctx context.Context, env *Environment) error {
			if _, err := env.StartFleet(ctx); err != nil {
				return err
			}

			if err := pauseBriefly(ctx, env); err != nil {
				return err
			}
			if err := env.Wait(ctx, 2*env.Timing.Fast); err != nil {
				return err
			}
			if err := pausePastThreshold(ctx, env); err != nil {
				return err
			}

			return env.CheckFleet(ctx)
		},
	}
}

// pauseBriefly pauses the network for less than the staleness threshold. No controller may be marked stale.
func pauseBriefly(ctx context.Context, env *Environment) error {
	// A controller whose last heartbeat was an interval before the pause must send the next one within the threshold.
	span := env.Timing.Threshold - env.Timing.Fast - env.Timing.Fast/2
	if err := env.freezeNetwork(ctx, span); err != nil {
		return err
	}
	if err := env.CheckHeartbeatsResume(ctx, env.resumeNetwork(), "a pause of "+formatDuration(span)); err != nil {
		return err
	}
	return env.CheckNotWronglyStale(ctx)
}

// pausePastThreshold pauses the network for longer than the threshold. Controllers are marked stale, rightly. All of them
// must be healthy again as soon as the network is.
func pausePastThreshold(ctx context.Context, env *Environment) error {
	before := env.History.LastID()
	span := 2 * env.Timing.Threshold
	env.BeginHeartbeatPause()
	if err := env.freezeNetwork(ctx, span); err != nil {
		return err
	}
	marked := len(env.History.TransitionsAfter(before, isStale))
	env.AddNote("%d of %d were marked stale in the pause of %s, as expected: their heartbeats could not arrive",
		marked, len(env.Fleet.Controllers), formatDuration(span))

	resumedAt := env.resumeNetwork()
	env.EndHeartbeatPause()
	return env.CheckHeartbeatsResume(ctx, resumedAt, "a pause of "+formatDuration(span))
}

func (e *Environment) freezeNetwork(ctx context.Context, d time.Duration) error {
	e.SetPhase("the network is paused for %s", formatDuration(d))
	e.Network.Freeze()
	return e.Wait(ctx, d)
}

// resumeNetwork ends the pause and returns when it ended.
func (e *Environment) resumeNetwork() time.Time {
	now := time.Now()
	e.ResetFirstAcks(now)
	e.Network.Resume()
	return now
}
