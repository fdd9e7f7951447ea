package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"darktower.example/global-controller/service"
)

const (
	// maxBatch bounds a statement. A larger one would hold its rows longer than it saves.
	maxBatch = 1024
	// maxQueued bounds what waits for a commit: about half a second of what a database takes at its best. Who comes
	// when it is full is told at once rather than kept.
	maxQueued = 16384
	// staleInQueue is how long a heartbeat may have waited when a commit fails: the next attempt may take the store's
	// whole bound once more, and callers give up.
	staleInQueue = time.Second
)

// batches commits heartbeats in groups. While one group is being committed the next one gathers, so a lone heartbeat is
// written at once, and no timer makes anybody wait. Who comes when nothing is being written writes for itself; what
// gathers meanwhile has a goroutine, which exists only while there is something to write.
type batches struct {
	store   *Store
	mu      sync.Mutex
	queue   []*waiting
	writing bool
	apart   chan struct{}
}

// The states of a heartbeat that waits: it is taken by a batch, or its caller has left.
const (
	isQueued int32 = iota
	isTaken
	isAbandoned
)

// waiting is a heartbeat and who waits for it.
type waiting struct {
	write  service.HeartbeatWrite
	since  time.Time
	state  atomic.Int32
	answer chan answer
}

type answer struct {
	result   service.HeartbeatResult
	err      error
	panicked any
}

// answered are reused: nobody but their caller knows them once they are answered.
var answered = sync.Pool{New: func() any { return &waiting{answer: make(chan answer, 1)} }}

func newBatches(s *Store) *batches { return &batches{store: s, apart: make(chan struct{}, maxApart)} }

// do waits until the heartbeat is committed, or ctx ends. Who writes for itself stays until that is done.
func (b *batches) do(ctx context.Context, h service.HeartbeatWrite) (none service.HeartbeatResult, _ error) {
	if err := ctx.Err(); err != nil {
		return none, fmt.Errorf("heartbeat: %w", err)
	}
	w := answered.Get().(*waiting) //nolint:forcetypeassert // The pool makes nothing else.
	w.write, w.since = h, time.Now()
	w.state.Store(isQueued)
	switch b.add(w) {
	case full:
		answered.Put(w)
		return none, unavailable("too many heartbeats wait for a commit")
	case first:
		w.state.Store(isTaken)
		b.next(b.commit([]*waiting{w}))
	case queued:
	}
	select {
	case a := <-w.answer:
		w.write = service.HeartbeatWrite{}
		answered.Put(w)
		if a.panicked != nil {
			panic(a.panicked) //nolint:forbidigo // It goes on where the caller can catch it.
		}
		return a.result, a.err
	case <-ctx.Done():
		// What is taken already is committed or not, without its caller.
		w.state.CompareAndSwap(isQueued, isAbandoned)
		return none, fmt.Errorf("heartbeat: %w", ctx.Err())
	}
}

// place is what becomes of a heartbeat that comes.
type place int

const (
	first  place = iota // Nothing is being written: its caller writes it.
	queued              // It waits for a batch.
	full                // There is no room.
)

func (b *batches) add(w *waiting) place {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !b.writing:
		b.writing = true
		return first
	case len(b.queue) >= maxQueued:
		return full
	}
	b.queue = append(b.queue, w)
	return queued
}

// next has the queue written, if anything is in it, after a commit of which there tells whether the store took it.
func (b *batches) next(there bool) {
	if !there {
		b.giveUp()
	}
	if batch := b.take(); batch != nil {
		go b.write(batch)
	}
}

// write commits a batch and those that gather meanwhile, until nothing is left.
func (b *batches) write(batch []*waiting) {
	for ; batch != nil; batch = b.take() {
		if !b.commit(batch) {
			b.giveUp()
		}
	}
}

// take returns the next batch, in the order of ids and, for one id, of arrival; nil when nobody waits.
func (b *batches) take() []*waiting {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.queue) > 0 {
		n := min(len(b.queue), maxBatch)
		batch := make([]*waiting, 0, n)
		for _, w := range b.queue[:n] {
			if w.state.CompareAndSwap(isQueued, isTaken) {
				batch = append(batch, w)
			}
		}
		left := copy(b.queue, b.queue[n:])
		clear(b.queue[left:])
		b.queue = b.queue[:left]
		if len(batch) > 0 {
			slices.SortStableFunc(batch, func(x, y *waiting) int { return strings.Compare(x.write.ControllerID, y.write.ControllerID) })
			return b.oneProcessEach(batch)
		}
	}
	b.writing = false
	return nil
}

// oneProcessEach leaves the heartbeats of only one incarnation of each controller in a sorted batch: at most one of two
// processes may be acknowledged, so they cannot share a write. Those of another go back to where they came from.
func (b *batches) oneProcessEach(batch []*waiting) []*waiting {
	kept := batch[:0]
	var others []*waiting
	for _, w := range batch {
		if n := len(kept) - 1; n >= 0 && kept[n].write.ControllerID == w.write.ControllerID && kept[n].write.Incarnation != w.write.Incarnation {
			w.state.Store(isQueued) // Its caller may have left meanwhile; then it is stored all the same.
			others = append(others, w)
			continue
		}
		kept = append(kept, w)
	}
	if len(others) > 0 {
		clear(batch[len(kept):])
		b.queue = append(others, b.queue...)
	}
	return kept
}

// giveUp answers those who have waited through a commit that failed.
func (b *batches) giveUp() {
	b.mu.Lock()
	defer b.mu.Unlock()
	oldest := time.Now().Add(-staleInQueue)
	kept := b.queue[:0]
	for _, w := range b.queue {
		if w.since.After(oldest) {
			kept = append(kept, w)
		} else if w.state.CompareAndSwap(isQueued, isTaken) {
			w.answer <- answer{err: unavailable("the store takes no heartbeats")}
		}
	}
	clear(b.queue[len(kept):])
	b.queue = kept
}

// commit stores a sorted batch and answers everybody in it. It returns false when the store is not there.
func (b *batches) commit(batch []*waiting) (there bool) {
	answers := 0
	reply := func(some []*waiting, a answer) {
		for _, w := range some {
			answers++
			w.answer <- a
		}
	}
	defer func() {
		if cause := recover(); cause != nil {
			// Answers go out in the batch's order, so those that are left are its end.
			reply(batch[answers:], answer{panicked: cause})
			there = true
		}
	}()
	beats, groups := collapse(batch)
	began := time.Now()
	results, err := b.store.hear(context.Background(), beats, b.store.dialect.skipBusy)
	switch {
	case err != nil && (!errors.Is(err, errRejected) || len(groups) == 1):
		reply(batch, answer{err: err})
		return errors.Is(err, errRejected)
	case err != nil:
		// One of them cannot be stored. The half without it can.
		half := len(groups[0])
		for _, group := range groups[1 : len(groups)/2] {
			half += len(group)
		}
		answers = len(batch) // The halves answer for themselves.
		if !b.commit(batch[:half]) {
			replyAll(batch[half:], answer{err: unavailable("the store takes no heartbeats")})
			return false
		}
		return b.commit(batch[half:])
	}
	b.store.batched(len(batch), time.Since(began))
	var missing [][]*waiting
	for i, result := range results {
		if !result.found {
			missing = append(missing, groups[i])
			answers += len(groups[i])
			continue
		}
		// The change is told once, by the heartbeat that made it.
		last := len(groups[i]) - 1
		stored, err := result.answer()
		untold := stored
		untold.Transition = nil
		reply(groups[i][:last], answer{result: untold, err: err})
		reply(groups[i][last:], answer{result: stored, err: err})
	}
	if len(missing) > 0 {
		b.explain(missing)
	}
	return true
}

// collapse makes one heartbeat of those of one controller: the latest, with the latest usage that any of them brought.
func collapse(batch []*waiting) (beats []service.HeartbeatWrite, groups [][]*waiting) {
	beats = make([]service.HeartbeatWrite, 0, len(batch))
	groups = make([][]*waiting, 0, len(batch))
	for i, w := range batch {
		if n := len(beats) - 1; n >= 0 && beats[n].ControllerID == w.write.ControllerID {
			usage := beats[n].Usage
			beats[n] = w.write
			if beats[n].Usage == nil {
				beats[n].Usage = usage
			}
			groups[n] = batch[i-len(groups[n]) : i+1]
			continue
		}
		beats = append(beats, w.write)
		groups = append(groups, batch[i:i+1])
	}
	return beats, groups
}

func replyAll(group []*waiting, a answer) {
	for _, w := range group {
		w.answer <- a
	}
}
