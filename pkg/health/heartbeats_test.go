package health

import (
	"fmt"
	"testing"
	"time"
)

// testFleet sends the heartbeats of a fleet by its own clock, and judges them once a second.
type testFleet struct {
	*HeartbeatMonitor
	now time.Time
}

func newTestFleet() *testFleet {
	f := &testFleet{now: time.Unix(1_800_000_000, 0)}
	f.HeartbeatMonitor = NewHeartbeatMonitor(10*time.Second, func() time.Time { return f.now })
	return f
}

// run makes size controllers send a heartbeat every 10 s for some seconds, and returns the state after each second. fails reports
// whether the heartbeat of a controller in a second fails.
func (f *testFleet) run(size, seconds int, fails func(controller, second int) bool) (states []string) {
	for second := range seconds {
		for c := range size {
			if c%10 != second%10 {
				continue
			}
			if id := fmt.Sprint("mc-", c); fails(c, second) {
				f.ObserveFailure(id)
			} else {
				f.ObserveCommit(id)
			}
		}

		f.Evaluate()
		states = append(states, f.State())
		f.now = f.now.Add(time.Second)
	}
	return states
}

func countStates(states []string, state string) (n int) {
	for _, s := range states {
		if s == state {
			n++
		}
	}
	return n
}

func noneFails(int, int) bool { return false }
func allFail(int, int) bool   { return true }

func TestHeartbeatMonitor_OneLockedRowInAFleetOfTwo(t *testing.T) {
	f := newTestFleet()
	f.run(2, 60, noneFails)

	states := f.run(2, 120, func(c, _ int) bool { return c == 0 })
	if countStates(states, StateOK) != 120 {
		t.Errorf("states while one of two fails = %v, want ok throughout", states)
	}
}

func TestHeartbeatMonitor_MostFail(t *testing.T) {
	f := newTestFleet()
	f.run(40, 60, noneFails)

	states := f.run(40, 60, allFail)
	if states[0] != StateOK || countStates(states[:10], "failing") == 0 || countStates(states[10:], StateOK) != 0 {
		t.Errorf("states while all fail = %v, want failing within an interval, and then throughout", states)
	}

	// A single commit does not end the failing state.
	states = f.run(40, 30, func(c, second int) bool { return c+second != 7 })
	if countStates(states, StateOK) != 0 {
		t.Errorf("states with a single commit = %v, want failing throughout", states)
	}

	if states := f.run(40, 20, noneFails); states[19] != StateOK {
		t.Errorf("states while none fails = %v, want ok again", states)
	}
}

func TestHeartbeatMonitor_FailedCallerDoesNotReturn(t *testing.T) {
	f := newTestFleet()
	f.ObserveFailure("mc")
	f.Evaluate()
	if f.State() != "failing" || len(f.takeFailed()) != 1 {
		t.Errorf("State() after the only heartbeat failed = %s, want failing, and the failure recorded once", f.State())
	}

	if states := f.run(0, 30, noneFails); states[29] != StateOK || f.failing.Load() != 0 {
		t.Errorf("states = %v, want ok after two intervals, and nothing remembered", states)
	}
}

func TestHeartbeatMonitor_FailuresAreRecordedOnce(t *testing.T) {
	f := newTestFleet()
	f.ObserveFailure("a")
	f.ObserveFailure("b")

	taken := f.takeFailed()
	if len(taken) != 2 || len(f.takeFailed()) != 0 {
		t.Errorf("takeFailed() = %v and more, want both once", taken)
	}

	f.ObserveCommit("a")
	f.returnFailed(taken)
	if got := f.takeFailed(); len(got) != 1 || got[0] != "b" {
		t.Errorf("takeFailed() after a commit for a = %v, want b", got)
	}
}

func TestHeartbeatMonitor_MemoryIsLimited(t *testing.T) {
	f := newTestFleet()
	for i := range maxFailing + 1000 {
		f.ObserveFailure(fmt.Sprint("mc-", i))
	}
	for range 20 {
		f.Evaluate()
		f.now = f.now.Add(time.Millisecond)
	}

	if n := f.failing.Load(); n != maxFailing {
		t.Errorf("failures remembered = %d, want %d", n, maxFailing)
	}
	if got := f.takeFailed(); len(got) != maxRecorded {
		t.Errorf("takeFailed() = %d ids, want %d", len(got), maxRecorded)
	}
}

func TestHeartbeatMonitor_ObserveCommitAllocatesNothing(t *testing.T) {
	f := newTestFleet()
	if n := testing.AllocsPerRun(100, func() { f.ObserveCommit("mc") }); n != 0 {
		t.Errorf("allocations of a commit = %v, want 0", n)
	}
}
