package fleetsim

import (
	"context"
	"fmt"
	"math"
	"time"
)

// maxLatency is what 99 of 100 heartbeats are answered within by a Global Controller that has nothing else to do.
const maxLatency = time.Second

func steady() Scenario {
	return Scenario{
		Name: "steady", Summary: "nothing happens; --duration says for how long, --ramp how slowly the fleet starts",
		Run: func(ctx context.Context, w *World) error {
			began := time.Now()
			steady, err := w.Settle(ctx)
			if err != nil {
				return err
			}
			w.CheckNoFailure(began)
			// Controllers vary their interval by a tenth, and one that was told to come later this once has a longer one.
			expected := float64(len(w.Fleet.MCs)) / w.Timing.Fast.Seconds()
			w.Promise("heartbeats", fmt.Sprintf("%.0f/s (controllers / interval) ± 20 %%", expected), fmt.Sprintf("%.0f/s", steady.Rate), math.Abs(steady.Rate-expected) <= 0.2*expected)
			w.Promise("99 % of them are answered", "≤ "+short(maxLatency), short(steady.Counts.Quantile(0.99))+", half of them within "+short(steady.Counts.Quantile(0.5)), steady.Counts.Quantile(0.99) <= maxLatency)
			return w.CheckFleet(ctx)
		},
	}
}
