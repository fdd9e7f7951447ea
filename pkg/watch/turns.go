package watch

import (
	"container/list"
	"context"
	"runtime"
	"sync"
	"time"
)

const (
	// turnLimit is how long a reader keeps its turn while it sends. One that takes longer waits for its peer, not for us.
	turnLimit = 2 * time.Millisecond
	// replayShare and bulkShare bound the part of the time in which what is not live is sent: as many times as long as it took
	// passes from the begin of one turn to the next.
	replayShare, bulkShare = 2, 4
)

// turnClass orders what readers send: lower ones go first.
type turnClass int

const (
	liveTurn   turnClass = iota // what changes now
	replayTurn                  // what a resumed reader missed
	bulkTurn                    // the fleet as it is
	turnClasses
)

// turns has readers send one after the other. A thousand that are woken by one change, or that resume at once, would
// otherwise all be ready to run at once, and a heartbeat would wait behind them for a processor.
type turns struct {
	mu      sync.Mutex
	free    int
	waiting [turnClasses]list.List // of *turn
	after   time.Time              // when what is not live may be sent again
	timer   *time.Timer
}

func newTurns() *turns { return &turns{free: max(1, runtime.GOMAXPROCS(0)/2)} }

// grantLocked gives the turns that are free to those that wait.
func (t *turns) grantLocked() {
	for class := range turnClasses {
		for t.free > 0 && t.waiting[class].Len() > 0 {
			if class != liveTurn {
				if left := time.Until(t.after); left > 0 {
					t.grantIn(left)
					return
				}
			}
			first := t.waiting[class].Remove(t.waiting[class].Front()).(*turn) //nolint:forcetypeassert // The only type in it.
			first.places[class] = nil
			if class == bulkTurn && first.away {
				first.missed = true
				continue
			}
			t.free--
			first.begin(class)
			first.granted <- struct{}{}
		}
	}
}

func (t *turns) grantIn(left time.Duration) {
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

// turn is that of one reader, from when it is let take an event until it has sent it. The lock of the turns guards it.
type turn struct {
	of      *turns
	granted chan struct{} // has room for one
	held    bool
	class   turnClass
	began   time.Time
	late    *time.Timer
	// slow is set when the last one lasted too long. The next is not waited for: it costs no processor while its peer is
	// waited for, and would hold up others.
	slow   bool
	places [turnClasses]*list.Element // where it waits
	// away says that it waits for bulk and sends something else meanwhile; missed that its turn came then.
	away, missed bool
}

func newTurn(of *turns) *turn { return &turn{of: of, granted: make(chan struct{}, 1)} }

func (t *turn) begin(class turnClass) {
	t.held, t.class, t.began = true, class, time.Now()
	if t.late == nil {
		t.late = time.AfterFunc(turnLimit, t.endLate)
	} else {
		t.late.Reset(turnLimit)
	}
}

// take waits for the reader's turn, and reports whether it came before ctx ended or something newer was there to be sent.
func (t *turn) take(ctx context.Context, class turnClass, news <-chan struct{}) bool {
	if !t.ask(class) {
		return true
	}
	select {
	case <-t.granted:
		return true
	case <-ctx.Done():
	case <-news:
	}

	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	select {
	case <-t.granted:
		return true // It came meanwhile.
	default:
	}
	if class == bulkTurn {
		t.away = true // It keeps its place.
	} else {
		t.leavePlace(class)
	}
	return false
}

// ask asks for a turn, and reports whether it has to be waited for.
func (t *turn) ask(class turnClass) bool {
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	queue := &t.of.waiting[class]
	switch {
	case t.slow:
		t.slow = false
		return false
	case class == bulkTurn && t.places[class] != nil:
		t.away = false
	case class == bulkTurn && t.missed:
		t.away, t.missed = false, false
		t.places[class] = queue.PushFront(t)
	case t.of.free > 0 && queue.Len() == 0 && (class == liveTurn || !time.Now().Before(t.of.after)):
		t.of.free--
		t.begin(class)
		return false
	default:
		t.places[class] = queue.PushBack(t)
	}
	t.of.grantLocked()
	return true
}

// end gives the turn back, if the reader has it.
func (t *turn) end() {
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	t.endLocked()
}

func (t *turn) endLate() {
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	if t.held && time.Since(t.began) >= turnLimit {
		t.slow = true
		t.endLocked()
	}
}

func (t *turn) endLocked() {
	if !t.held {
		return
	}
	t.held = false
	t.late.Stop()
	t.of.free++
	switch took := time.Since(t.began); t.class {
	case replayTurn:
		t.of.after = time.Now().Add((replayShare - 1) * took)
	case bulkTurn:
		t.of.after = time.Now().Add((bulkShare - 1) * took)
	case liveTurn, turnClasses:
	}
	t.of.grantLocked()
}

// leave gives up the turn and every place.
func (t *turn) leave() {
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	for class := range turnClasses {
		t.leavePlace(class)
	}
	t.endLocked()
}

func (t *turn) leavePlace(class turnClass) {
	if place := t.places[class]; place != nil {
		t.of.waiting[class].Remove(place)
		t.places[class] = nil
	}
}
