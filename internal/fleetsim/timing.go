package fleetsim

import (
	"context"
	"fmt"
	"time"

	"darktower.example/global-controller/pkg/health"
)

// sweepInterval is the interval of a Global Controller's staleness sweep. It has no setting.
const sweepInterval = 5 * time.Second

// margin is added to every expected time. It covers the calls themselves, the simulator's poll intervals, and the
// comparison of two clocks on a busy machine.
const margin = time.Second

// Timing has the intervals of heartbeats and the staleness threshold.
type Timing struct {
	Fast          time.Duration
	Comprehensive time.Duration
	Threshold     time.Duration
}

// The intervals of fast heartbeats from which [Timing.Complete] derives the other times, in the proportions of production.
const (
	// RealFast is the interval of production.
	RealFast = 10 * time.Second
	// QuickFast is for the simulator's own Global Controllers. A much shorter one would lead to a threshold below the
	// sweep interval, and the checks would measure the sweep interval.
	QuickFast = 2 * time.Second
)

// Complete sets the times that are zero.
func (t *Timing) Complete(fast time.Duration) {
	if t.Fast == 0 {
		t.Fast = fast
	}
	if t.Comprehensive == 0 {
		t.Comprehensive = 3 * t.Fast
	}
	if t.Threshold == 0 {
		t.Threshold = max(3*t.Fast, t.minThreshold().Truncate(time.Second)+time.Second)
	}
}

// minThreshold returns the value that a threshold must exceed: two intervals and the longest outage that is not detected.
func (t Timing) minThreshold() time.Duration { return 2*t.Fast + health.Tolerance }

// String describes the times in the report.
func (t Timing) String() string {
	return fmt.Sprintf("heartbeats each %v and %v, stale after %v", t.Fast, t.Comprehensive, t.Threshold)
}

// steadySpan is the shortest time in which the rate of a fleet without faults can be measured.
func (t Timing) steadySpan() time.Duration { return 4 * t.Fast }

// outageSpan is how long the scenarios' outages last.
func (t Timing) outageSpan() time.Duration { return 3 * t.Threshold }

// heartbeatLimit is the longest time until a controller that can call must have an acknowledged heartbeat. It is one interval,
// and the spread that a Global Controller announces to a burst of controllers. The spread is at most half an interval.
func (t Timing) heartbeatLimit() time.Duration { return t.Fast + t.Fast/2 + margin }

// detectionLimit is the longest time from a controller's last heartbeat until it must be unhealthy.
func (t Timing) detectionLimit() time.Duration { return t.Threshold + sweepInterval + margin }

// pause waits for d, and reports whether d passed before ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
