package fleetsim

import (
	"fmt"
	"time"

	"darktower.example/global-controller/pkg/health"
)

// checkInterval is how often a Global Controller looks for controllers that fell silent. It has no setting.
const checkInterval = 5 * time.Second

// allowance is what every promised time is given on top: for the calls themselves, for the steps in which we look, and
// for the two clocks that are compared, on a machine that has other things to do.
const allowance = time.Second

// Timing is how often controllers beat and how long they may be silent.
type Timing struct {
	Fast, Comprehensive, Threshold time.Duration
}

// Timings by the interval of fast heartbeats, in the proportions of production: that of the contract, and the quick
// one that a Global Controller of our own is given. It cannot be much quicker: a threshold shorter than the checker's
// interval of 5 s would measure the checker.
const (
	RealFast  = 10 * time.Second
	QuickFast = 2 * time.Second
)

// Complete fills in what is not set.
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

// minThreshold returns the value that a threshold must exceed: two intervals and the longest outage that goes unnoticed.
func (t Timing) minThreshold() time.Duration { return 2*t.Fast + health.Tolerance }

// String names all three.
func (t Timing) String() string {
	return fmt.Sprintf("heartbeats each %v and %v, stale after %v", t.Fast, t.Comprehensive, t.Threshold)
}

// steady is how long it takes at least to know the rate of a fleet to which nothing happens.
func (t Timing) steady() time.Duration { return 4 * t.Fast }

// outage is three times as long as a controller may be silent.
func (t Timing) outage() time.Duration { return 3 * t.Threshold }

// heard is within what time a controller that can call must be heard: one interval, and the spread that a Global
// Controller announces to a fleet that came all at once, which is at most half of one more.
func (t Timing) heard() time.Duration { return t.Fast + t.Fast/2 + allowance }

// found is within what time of its last heartbeat a controller that stopped must be unhealthy.
func (t Timing) found() time.Duration { return t.Threshold + checkInterval + allowance }
