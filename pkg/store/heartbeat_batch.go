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
	// maxBatch limits the heartbeats of a statement. A larger statement would lock its rows for longer than it saves.
	maxBatch = 1024
	// maxQueued limits the heartbeats that wait for a commit: about half a second of what a database can commit. When the
	// queue is full, further heartbeats fail at once.
	maxQueued = 16384
	// maxQueueAge limits how long a heartbeat may have waited when a commit fails. The next attempt may take the store's
	// whole timeout again, and callers give up by then.
	maxQueueAge = time.Second
)

// heartbeatBatcher commits heartbeats in batches. The first caller commits its own heartbeat. Heartbeats that arrive
// meanwhile are committed by one goroutine, which exits when the queue is empty. So a single heartbeat is written at
// once, and no heartbeat waits for a timer.
type heartbeatBatcher struct {
	store *Store

	mu           sync.Mutex
	queue        []*pendingHeartbeat
	isCommitting bool

	// lockedRowSlots has room for one element for each goroutine that may wait for a locked row.
	lockedRowSlots chan struct{}
}

func newHeartbeatBatcher(s *Store) *heartbeatBatcher {
	return &heartbeatBatcher{store: s, lockedRowSlots: make(chan struct{}, maxLockedRowWriters)}
}

// pendingState is the state of a heartbeat that waits for its commit.
type pendingState int32

const (
	stateQueued pendingState = iota
	// stateClaimed: the heartbeat is part of a batch.
	stateClaimed
	// stateAbandoned: the caller returned before a batch claimed the heartbeat, so it is not written.
	stateAbandoned
)

// pendingHeartbeat is a heartbeat whose caller waits for the commit.
type pendingHeartbeat struct {
	write service.HeartbeatWrite
	since time.Time
	state atomic.Int32 // a pendingState

	// reply is set before an element is sent to done, which has room for it.
	reply heartbeatReply
	done  chan struct{}
}

// heartbeatReply is what the caller of a heartbeat gets. panicValue is not nil if the commit panicked.
type heartbeatReply struct {
	result     service.HeartbeatResult
	err        error
	panicValue any
}

// errUnwritten is the reply to a heartbeat that no statement has written yet, because the row is missing or locked.
// resolveUnwritten replaces it before the caller gets it.
var errUnwritten = errors.New("heartbeat not written")

// pendingPool holds heartbeats for reuse. After the reply only the caller has a reference to its heartbeat.
var pendingPool = sync.Pool{New: func() any { return newPendingHeartbeat() }}

func newPendingHeartbeat() *pendingHeartbeat { return &pendingHeartbeat{done: make(chan struct{}, 1)} }

func (p *pendingHeartbeat) setState(state pendingState) { p.state.Store(int32(state)) }

// changeState changes a queued heartbeat to another state and reports whether it was queued.
func (p *pendingHeartbeat) changeState(to pendingState) bool {
	return p.state.CompareAndSwap(int32(stateQueued), int32(to))
}

func (p *pendingHeartbeat) sendReply() { p.done <- struct{}{} }

// release clears the heartbeat and returns it to the pool.
func (p *pendingHeartbeat) release() {
	p.write = service.HeartbeatWrite{}
	p.reply = heartbeatReply{}
	pendingPool.Put(p)
}

// submit returns when the heartbeat is committed or ctx ends. A caller that commits its own heartbeat returns after the
// commit.
func (b *heartbeatBatcher) submit(ctx context.Context, h service.HeartbeatWrite) (service.HeartbeatResult, error) {
	if err := ctx.Err(); err != nil {
		return service.HeartbeatResult{}, fmt.Errorf("wait for the commit: %w", err)
	}

	p := pendingPool.Get().(*pendingHeartbeat) //nolint:forcetypeassert // The pool makes nothing else.
	p.write, p.since = h, time.Now()
	p.setState(stateQueued)

	switch b.joinOrLead(p) {
	case queueFull:
		p.release()
		return service.HeartbeatResult{}, unavailable("too many heartbeats wait for a commit")
	case becameLeader:
		p.setState(stateClaimed)
		err := b.commit([]*pendingHeartbeat{p})

		b.commitQueue(err)
	case joinedQueue:
	}

	select {
	case <-p.done:
		reply := p.reply
		p.release()
		if reply.panicValue != nil {
			panic(reply.panicValue) //nolint:forbidigo // The caller's goroutine can recover it.
		}
		return reply.result, reply.err
	case <-ctx.Done():
		// A claimed heartbeat is committed without its caller.
		p.changeState(stateAbandoned)
		return service.HeartbeatResult{}, fmt.Errorf("wait for the commit: %w", ctx.Err())
	}
}

// joinResult is the result of joinOrLead.
type joinResult int

const (
	// becameLeader: no commit is in progress, so the caller commits its heartbeat.
	becameLeader joinResult = iota
	// joinedQueue: the heartbeat waits for a batch.
	joinedQueue
	// queueFull: the heartbeat fails at once.
	queueFull
)

// joinOrLead makes the caller the leader if no commit is in progress. Otherwise it adds the heartbeat to the queue, if the
// queue has room.
func (b *heartbeatBatcher) joinOrLead(p *pendingHeartbeat) joinResult {
	b.mu.Lock()
	defer b.mu.Unlock()

	switch {
	case !b.isCommitting:
		b.isCommitting = true
		return becameLeader
	case len(b.queue) >= maxQueued:
		return queueFull
	}

	b.queue = append(b.queue, p)
	return joinedQueue
}

// commitQueue starts a goroutine that commits the queue, unless the queue is empty. leaderErr is the error of the leader's
// commit.
func (b *heartbeatBatcher) commitQueue(leaderErr error) {
	if leaderErr != nil {
		b.failOldest()
	}
	if batch := b.takeBatch(); batch != nil {
		go b.commitBatches(batch)
	}
}

// commitBatches commits a batch and the ones after it until the queue is empty.
func (b *heartbeatBatcher) commitBatches(batch []*pendingHeartbeat) {
	for ; batch != nil; batch = b.takeBatch() {
		if err := b.commit(batch); err != nil {
			b.failOldest()
		}
	}
}

// takeBatch claims the next batch, sorted by id and, for one id, by arrival. It returns nil if the queue is empty; the next
// caller then commits its own heartbeat.
func (b *heartbeatBatcher) takeBatch() []*pendingHeartbeat {
	b.mu.Lock()
	defer b.mu.Unlock()

	for len(b.queue) > 0 {
		n := min(len(b.queue), maxBatch)
		batch := make([]*pendingHeartbeat, 0, n)
		for _, p := range b.queue[:n] {
			if p.changeState(stateClaimed) {
				batch = append(batch, p)
			}
		}

		left := copy(b.queue, b.queue[n:])
		clear(b.queue[left:])
		b.queue = b.queue[:left]

		if len(batch) > 0 {
			slices.SortStableFunc(batch, func(x, y *pendingHeartbeat) int {
				return strings.Compare(x.write.ControllerID, y.write.ControllerID)
			})
			return b.requeueOtherIncarnationsLocked(batch)
		}
	}

	b.isCommitting = false
	return nil
}

// requeueOtherIncarnationsLocked keeps the heartbeats of one incarnation of each controller in a sorted batch, and returns the
// others to the queue. At most one of two incarnations may be acknowledged, so they cannot share a write. The caller holds mu.
func (b *heartbeatBatcher) requeueOtherIncarnationsLocked(batch []*pendingHeartbeat) []*pendingHeartbeat {
	kept := batch[:0]
	var others []*pendingHeartbeat
	for _, p := range batch {
		if n := len(kept) - 1; n >= 0 {
			last := kept[n].write
			if last.ControllerID == p.write.ControllerID && last.Incarnation != p.write.Incarnation {
				p.setState(stateQueued) // If its caller has returned meanwhile, it is stored anyway.
				others = append(others, p)
				continue
			}
		}
		kept = append(kept, p)
	}

	if len(others) > 0 {
		clear(batch[len(kept):])
		b.queue = append(others, b.queue...)
	}
	return kept
}

// failOldest fails the queued heartbeats that have waited for longer than maxQueueAge. It is called after a failed commit.
func (b *heartbeatBatcher) failOldest() {
	b.mu.Lock()
	defer b.mu.Unlock()

	oldest := time.Now().Add(-maxQueueAge)
	kept := b.queue[:0]
	for _, p := range b.queue {
		if p.since.After(oldest) {
			kept = append(kept, p)
		} else if p.changeState(stateClaimed) {
			p.reply = heartbeatReply{err: errCommitFailed}
			p.sendReply()
		}
	}

	clear(b.queue[len(kept):])
	b.queue = kept
}
