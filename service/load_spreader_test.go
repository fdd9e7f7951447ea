package service

import (
	"slices"
	"testing"
	"time"
)

// clock is set by its test.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func newClock() *clock { return &clock{time.Unix(1_800_000_000, 0)} }

func TestLoadSpreader_EvenFleetIsNotDelayed(t *testing.T) {
	c := newClock()
	p := NewLoadSpreader(10*time.Second, c.Now)
	spread := 0
	const perSecond = 500
	for second := range 40 {
		for range perSecond {
			c.now = c.now.Add(time.Second / perSecond)
			if p.DelayAfterHeartbeat() != 0 && second >= 20 {
				spread++
			}
		}
	}

	if spread > 0 {
		t.Errorf("%d heartbeats of an even fleet were delayed, want none once the mean is known", spread)
	}
}

func TestLoadSpreader_SmallFleetIsNotDelayed(t *testing.T) {
	p := NewLoadSpreader(10*time.Second, newClock().Now)
	for range smallBurst / 2 {
		if r, h := p.DelayAfterRegistration(), p.DelayAfterHeartbeat(); r != 0 || h != 0 {
			t.Errorf("a small fleet was delayed by %v and %v, want 0", r, h)
		}
	}
}

// TestLoadSpreader_SpreadsBurst lets all heartbeats of a fleet arrive at the same time and follow the returned delays.
func TestLoadSpreader_SpreadsBurst(t *testing.T) {
	const interval, fleet = 10 * time.Second, 5000
	c := newClock()
	p := NewLoadSpreader(interval, c.Now)
	began := c.now
	next := make([]time.Time, fleet)
	for i := range next {
		next[i] = began
	}

	perSecond := make([]int, 60)
	// Each controller's heartbeats, in the order of time.
	for range 4 {
		order := make([]int, fleet)
		for i := range order {
			order[i] = i
		}
		slices.SortFunc(order, func(a, b int) int { return next[a].Compare(next[b]) })
		for _, i := range order {
			c.now = next[i]
			perSecond[int(c.now.Sub(began)/time.Second)]++
			wait := p.DelayAfterHeartbeat()
			if wait == 0 {
				wait = interval
			}
			if wait < interval/2 || wait > interval*3/2 {
				t.Fatalf("delay = %v, want between half an interval and one and a half", wait)
			}
			next[i] = c.now.Add(wait)
		}
	}

	for second, n := range perSecond[1:30] {
		if n > 2*fleet/10 {
			t.Errorf("second %d after the burst: %d heartbeats, want at most twice the %d of an even fleet", second+1, n, fleet/10)
		}
	}
}

func TestLoadSpreader_AfterOutage(t *testing.T) {
	c := newClock()
	p := NewLoadSpreader(10*time.Second, c.Now)
	if wait := p.DelayAfterFailure(); wait < 5*time.Second || wait > 15*time.Second {
		t.Errorf("DelayAfterFailure() = %v, want 5 to 15 s", wait)
	}

	c.now = c.now.Add(9 * time.Second)
	if p.DelayAfterHeartbeat() == 0 {
		t.Errorf("a heartbeat soon after the outage was not delayed")
	}

	if wait := p.DelayAfterRegistration(); wait != 0 {
		t.Errorf("a registration soon after the outage was delayed by %v, want 0: there are few", wait)
	}

	c.now = c.now.Add(2 * time.Second)
	if wait := p.DelayAfterHeartbeat(); wait != 0 {
		t.Errorf("a heartbeat an interval after the outage was delayed by %v, want 0", wait)
	}

	c.now = c.now.Add(-time.Hour)
	p.DelayAfterHeartbeat() // A clock that was set back must not cause a panic.
}
