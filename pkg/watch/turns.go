package watch

import (
	"container/list"
	"context"
	"runtime"
	"sync"
	"time"
)

const (
	// turnLimit is how long a reader keeps its turn while it sends. One that takes longer waits for its client.
	maxTurnTime = 2 * time.Millisecond
	// replayShare and bulkShare limit the load of turns that are not live: the time from one start to the next is at least that
	// multiple of what the turn took.
	replayCostFactor, bulkCostFactor = 2, 4
)

// turnClass orders what readers send: lower ones go first.
type turnClass int

const (
	liveTurn   turnClass = iota // what changes now
	replayTurn                  // what a resumed reader missed
	bulkTurn                    // the fleet as it is
	turnClasses
)

// turns limits how many readers send at the same time. Without it, a thousand readers that one change wakes, or that resume
// together, would all be ready to run, and a heartbeat would wait behind them for a processor.
type turns struct {
	mu              sync.Mutex
	free            int
	queues          [turnClasses]list.List // of *turn
	othersNotBefore time.Time              // when turns that are not live may begin again
	timer           *time.Timer
}

func newTurns() *turns { return &turns{free: max(1, runtime.GOMAXPROCS(0)/2)} }

// grantLocked gives the turns that are free to those that wait.
func (t *turns) grantLocked() {
	for class := range turnClasses {
		for t.free > 0 && t.queues[class].Len() > 0 {
			if class != liveTurn {
				if left := time.Until(t.othersNotBefore); left > 0 {
					t.grantLater(left)
					return
				}
			}
			first := t.queues[class].Remove(t.queues[class].Front()).(*turn) //nolint:forcetypeassert // The only type in it.
			first.queueElements[class] = nil
			if class == bulkTurn && first.isDeferred {
				first.hasMissedTurn = true
				continue
			}
			t.free--
			first.begin(class)
			first.granted <- struct{}{}
		}
	}
}

func (t *turns) grantLater(left time.Duration) {
	if t.timer != nil {
		return
	}
	t.timer = time.AfterFunc(left, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.timer = nil
		t.grantLocked()
	})
}

// turn is the turn of one reader, from when it may take an event until it has sent it. The lock of turns guards it.
type turn struct {
	turns      *turns
	granted    chan struct{} // has room for one
	isHeld     bool
	class      turnClass
	began      time.Time
	limitTimer *time.Timer
	// wasSlow is set when the last turn exceeded turnLimit. The next turn is not waited for: a reader that waits for its client
	// uses no processor, and would delay others.
	wasSlow       bool
	queueElements [turnClasses]*list.Element // where it waits
	// isAway is true while the reader waits for a bulk turn and sends something else; hasMissedTurn if its turn came then.
	isDeferred, hasMissedTurn bool
}

func newTurn(of *turns) *turn { return &turn{turns: of, granted: make(chan struct{}, 1)} }

func (t *turn) begin(class turnClass) {
	t.isHeld, t.class, t.began = true, class, time.Now()
	if t.limitTimer == nil {
		t.limitTimer = time.AfterFunc(maxTurnTime, t.releaseAtLimit)
	} else {
		t.limitTimer.Reset(maxTurnTime)
	}
}

// take waits for the reader's turn, and reports whether it came before ctx ended or news was closed.
func (t *turn) acquire(ctx context.Context, class turnClass, news <-chan struct{}) bool {
	if !t.request(class) {
		return true
	}
	select {
	case <-t.granted:
		return true
	case <-ctx.Done():
	case <-news:
	}

	t.turns.mu.Lock()
	defer t.turns.mu.Unlock()
	select {
	case <-t.granted:
		return true // It was granted in the meantime.
	default:
	}
	if class == bulkTurn {
		t.isDeferred = true // It keeps its place.
	} else {
		t.leaveQueue(class)
	}
	return false
}

// ask requests a turn, and reports whether the reader has to wait for it.
func (t *turn) request(class turnClass) bool {
	t.turns.mu.Lock()
	defer t.turns.mu.Unlock()

	queue := &t.turns.queues[class]
	switch {
	case t.wasSlow:
		t.wasSlow = false
		return false
	case class == bulkTurn && t.queueElements[class] != nil:
		t.isDeferred = false
	case class == bulkTurn && t.hasMissedTurn:
		t.isDeferred, t.hasMissedTurn = false, false
		t.queueElements[class] = queue.PushFront(t)
	case t.turns.free > 0 && queue.Len() == 0 && (class == liveTurn || !time.Now().Before(t.turns.othersNotBefore)):
		t.turns.free--
		t.begin(class)
		return false
	default:
		t.queueElements[class] = queue.PushBack(t)
	}

	t.turns.grantLocked()
	return true
}

// end gives the turn back, if the reader has it.
func (t *turn) release() {
	t.turns.mu.Lock()
	defer t.turns.mu.Unlock()
	t.releaseLocked()
}

func (t *turn) releaseAtLimit() {
	t.turns.mu.Lock()
	defer t.turns.mu.Unlock()
	if t.isHeld && time.Since(t.began) >= maxTurnTime {
		t.wasSlow = true
		t.releaseLocked()
	}
}

func (t *turn) releaseLocked() {
	if !t.isHeld {
		return
	}
	t.isHeld = false
	t.limitTimer.Stop()
	t.turns.free++
	switch took := time.Since(t.began); t.class {
	case replayTurn:
		t.turns.othersNotBefore = time.Now().Add((replayCostFactor - 1) * took)
	case bulkTurn:
		t.turns.othersNotBefore = time.Now().Add((bulkCostFactor - 1) * took)
	case liveTurn, turnClasses:
	}
	t.turns.grantLocked()
}

// leave gives up the turn and every place in the queues.
func (t *turn) cancel() {
	t.turns.mu.Lock()
	defer t.turns.mu.Unlock()
	for class := range turnClasses {
		t.leaveQueue(class)
	}
	t.releaseLocked()
}

func (t *turn) leaveQueue(class turnClass) {
	if place := t.queueElements[class]; place != nil {
		t.turns.queues[class].Remove(place)
		t.queueElements[class] = nil
	}
}
