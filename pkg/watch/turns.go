package watch

import (
	"container/list"
	"context"
	"runtime"
	"sync"
	"time"
)

const (
	// maxTurnTime is how long a watch keeps its turn while it sends. A watch that takes longer is blocked by its client.
	maxTurnTime = 2 * time.Millisecond
	// The cost factors limit the load of turns that are not live. The time from the start of one turn to the start of the next is at least
	// that multiple of the time that the turn took.
	replayCostFactor = 2
	bulkCostFactor   = 4
)

// turnClass is the priority of what a watch sends. Lower classes are granted first.
type turnClass int

const (
	liveTurn    turnClass = iota // new changes
	replayTurn                   // changes that a resumed watch has missed, and loads
	bulkTurn                     // the fleet
	turnClasses                  // the number of classes
)

// turns limits how many watches send at the same time. Without the limit, one change or a burst of resumes would make thousands of
// watches ready to run. A heartbeat would wait behind them for a processor.
type turns struct {
	mu              sync.Mutex
	free            int
	queues          [turnClasses]list.List // of *turn
	othersNotBefore time.Time              // when turns that are not live may begin again
	timer           *time.Timer
}

func newTurns() *turns { return &turns{free: max(1, runtime.GOMAXPROCS(0)/2)} }

// grantLocked grants the free turns to the watches in the queues.
func (t *turns) grantLocked() {
	for class := range turnClasses {
		for t.free > 0 && t.queues[class].Len() > 0 {
			if class != liveTurn {
				if delay := time.Until(t.othersNotBefore); delay > 0 {
					t.grantLater(delay)
					return
				}
			}

			queue := &t.queues[class]
			first := queue.Remove(queue.Front()).(*turn) //nolint:forcetypeassert // The queue has no other type.
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

func (t *turns) grantLater(delay time.Duration) {
	if t.timer != nil {
		return
	}
	t.timer = time.AfterFunc(delay, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.timer = nil
		t.grantLocked()
	})
}

// turn is the turn of one watch, from the choice of an event until it was sent. The lock of turns guards it.
type turn struct {
	turns      *turns
	granted    chan struct{} // has room for one
	isHeld     bool
	class      turnClass
	began      time.Time
	limitTimer *time.Timer
	// wasSlow is set if the last turn exceeded maxTurnTime. The watch then sends without a turn, because a watch that waits for its
	// client uses no processor, and its turn would delay others.
	wasSlow       bool
	queueElements [turnClasses]*list.Element // where the turn is in the queues; nil: not in the queue
	// isDeferred is true while the watch is in the queue for a bulk turn and sends something else.
	isDeferred bool
	// hasMissedTurn is true if the bulk turn came while it was deferred.
	hasMissedTurn bool
}

func newTurn(of *turns) *turn { return &turn{turns: of, granted: make(chan struct{}, 1)} }

func (t *turn) begin(class turnClass) {
	t.isHeld = true
	t.class = class
	t.began = time.Now()
	if t.limitTimer == nil {
		t.limitTimer = time.AfterFunc(maxTurnTime, t.releaseAtLimit)
	} else {
		t.limitTimer.Reset(maxTurnTime)
	}
}

// acquire waits for the turn, and reports whether it was granted before ctx ended or updated was closed.
func (t *turn) acquire(ctx context.Context, class turnClass, updated <-chan struct{}) bool {
	if !t.request(class) {
		return true
	}
	select {
	case <-t.granted:
		return true
	case <-ctx.Done():
	case <-updated:
	}

	t.turns.mu.Lock()
	defer t.turns.mu.Unlock()
	select {
	case <-t.granted:
		return true // The turn was granted in the meantime.
	default:
	}
	if class == bulkTurn {
		t.isDeferred = true // The watch stays in the queue.
	} else {
		t.leaveQueue(class)
	}
	return false
}

// request requests a turn, and reports whether the watch has to wait for it.
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
		t.isDeferred = false
		t.hasMissedTurn = false
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

// release ends the turn, if the watch has it.
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

// cancel ends the turn and leaves all queues.
func (t *turn) cancel() {
	t.turns.mu.Lock()
	defer t.turns.mu.Unlock()
	for class := range turnClasses {
		t.leaveQueue(class)
	}
	t.releaseLocked()
}

func (t *turn) leaveQueue(class turnClass) {
	if element := t.queueElements[class]; element != nil {
		t.turns.queues[class].Remove(element)
		t.queueElements[class] = nil
	}
}
