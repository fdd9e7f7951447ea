package fleetsim

import (
	"context"
	"fmt"
	"math"
	"time"
)

// maxLatency is the limit for 99 % of the heartbeats without a fault.
const maxLatency = time.Second

// maxRateDeviation is the share by which the heartbeat rate may deviate. Controllers vary their intervals by a tenth, and a
// retry delay in a response makes one interval longer.
const maxRateDeviation = 0.2

func steady() Scenario {
	return Scenario{
		Name:    "steady",
		Summary: "there is no fault; --duration sets how long the fleet runs, --ramp how slowly it starts",
		Run: func(ctx context.Context, env *Environment) error {
			startedAt := time.Now()
			steady, err := env.StartFleet(ctx)
			if err != nil {
				return err
			}
			env.CheckNoFailedCalls(startedAt)

			expected := float64(len(env.Fleet.Controllers)) / env.Timing.Fast.Seconds()
			env.RecordCheck("heartbeat rate",
				fmt.Sprintf("%.0f/s (controllers / interval) ± 20 %%", expected),
				fmt.Sprintf("%.0f/s", steady.Rate),
				math.Abs(steady.Rate-expected) <= maxRateDeviation*expected)

			p99 := steady.Counts.Quantile(0.99)
			env.RecordCheck("99 % of the heartbeats are acknowledged within",
				"≤ "+formatDuration(maxLatency),
				fmt.Sprintf("%s, half of them within %s", formatDuration(p99), formatDuration(steady.Counts.Quantile(0.5))),
				p99 <= maxLatency)
			return env.CheckFleet(ctx)
		},
	}
}
