package store

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// callBatcher commits the requests of calls in batches, as heartbeatBatcher does for heartbeats. The requests that arrive
// during a commit form the next batch, so a single request does not wait for others.
type callBatcher[Req, Resp any] struct {
	// commit returns one result for each request of a batch, which has up to maxBatch.
	commit   func([]Req) []callResult[Resp]
	maxBatch int

	mu           sync.Mutex
	queue        []*pendingCall[Req, Resp]
	isCommitting bool
	// committed is closed when isCommitting becomes false; it is nil before the first request.
	committed chan struct{}
}

// callResult is the result of one call. panicValue is not nil if the commit panicked.
type callResult[Resp any] struct {
	value      Resp
	err        error
	panicValue any
}

// pendingCall is a request whose caller waits for the commit.
type pendingCall[Req, Resp any] struct {
	request Req
	result  chan callResult[Resp] // Has room for it.
}

// submit returns when the request is committed or ctx ends. In the latter case the request is committed without its caller.
func (c *callBatcher[Req, Resp]) submit(ctx context.Context, request Req) (Resp, error) {
	var zero Resp
	pending := &pendingCall[Req, Resp]{request: request, result: make(chan callResult[Resp], 1)}
	if !c.enqueue(pending) {
		return zero, unavailable("too many calls wait for a commit")
	}

	select {
	case result := <-pending.result:
		if result.panicValue != nil {
			panic(result.panicValue) //nolint:forbidigo // The caller's goroutine can recover it.
		}
		return result.value, result.err
	case <-ctx.Done():
		return zero, fmt.Errorf("wait for the commit: %w", ctx.Err())
	}
}

// enqueue adds a request to the queue and starts its commits if none is in progress. It reports whether the queue had room.
func (c *callBatcher[Req, Resp]) enqueue(pending *pendingCall[Req, Resp]) bool {
	c.mu.Lock()
	defer c.mu.Unlock()

	if len(c.queue) >= maxQueued {
		return false
	}
	c.queue = append(c.queue, pending)

	if !c.isCommitting {
		c.isCommitting = true
		c.committed = make(chan struct{})
		go c.commitBatches()
	}
	return true
}

// commitBatches commits one batch after the other until the queue is empty.
func (c *callBatcher[Req, Resp]) commitBatches() {
	for batch := c.takeBatch(); batch != nil; batch = c.takeBatch() {
		requests := make([]Req, len(batch))
		for i, pending := range batch {
			requests[i] = pending.request
		}

		for i, result := range c.commitOnce(requests) {
			batch[i].result <- result
		}
	}
}

// commitOnce calls commit. A panic becomes the result of every request.
func (c *callBatcher[Req, Resp]) commitOnce(requests []Req) (results []callResult[Resp]) {
	defer func() {
		if cause := recover(); cause != nil {
			results = make([]callResult[Resp], len(requests))
			for i := range results {
				results[i].panicValue = cause
			}
		}
	}()
	return c.commit(requests)
}

// takeBatch removes the next batch from the queue. It returns nil if the queue is empty.
func (c *callBatcher[Req, Resp]) takeBatch() []*pendingCall[Req, Resp] {
	c.mu.Lock()
	defer c.mu.Unlock()

	if len(c.queue) == 0 {
		c.queue = nil
		c.isCommitting = false
		close(c.committed)
		return nil
	}

	n := min(len(c.queue), c.maxBatch)
	batch := c.queue[:n:n]
	c.queue = c.queue[n:]
	return batch
}

// waitForCommits waits until no commit is in progress, up to the timeout. It includes requests whose callers have returned.
func (c *callBatcher[Req, Resp]) waitForCommits(timeout time.Duration) {
	c.mu.Lock()
	committed := c.committed
	c.mu.Unlock()

	if committed == nil {
		return
	}
	select {
	case <-committed:
	case <-time.After(timeout):
	}
}
