package store

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// coalescer runs calls that arrive at the same time together. Calls that arrive during a batch form the next one, so a
// single call does not wait for others.
type coalescer[Req, Resp any] struct {
	// work returns one result for each request of a batch, which has up to maxBatch.
	work     func([]Req) []callResult[Resp]
	maxBatch int

	mu        sync.Mutex
	queue     []*pendingCall[Req, Resp]
	isWorking bool
	idle      chan struct{} // Closed when no batch is in progress; nil before the first call.
}

// callResult is the result of one call. panicValue is not nil if the batch panicked.
type callResult[Resp any] struct {
	value      Resp
	err        error
	panicValue any
}

// pendingCall is a call whose caller waits for the result.
type pendingCall[Req, Resp any] struct {
	request Req
	result  chan callResult[Resp] // Has room for it.
}

// call returns the result of the request, or an error when ctx ends. The request is then completed without its caller.
func (c *coalescer[Req, Resp]) call(ctx context.Context, request Req) (none Resp, _ error) {
	pending := &pendingCall[Req, Resp]{request: request, result: make(chan callResult[Resp], 1)}
	if !c.enqueue(pending) {
		return none, unavailable("too many calls wait for a commit")
	}

	select {
	case result := <-pending.result:
		if result.panicValue != nil {
			panic(result.panicValue) //nolint:forbidigo // The caller's goroutine can recover it.
		}
		return result.value, result.err
	case <-ctx.Done():
		return none, fmt.Errorf("wait for a commit: %w", ctx.Err())
	}
}

// enqueue reports whether the queue had room.
func (c *coalescer[Req, Resp]) enqueue(pending *pendingCall[Req, Resp]) bool {
	c.mu.Lock()
	defer c.mu.Unlock()

	if len(c.queue) >= maxQueued {
		return false
	}
	c.queue = append(c.queue, pending)
	if !c.isWorking {
		c.isWorking, c.idle = true, make(chan struct{})
		go c.processQueue()
	}
	return true
}

// processQueue runs one batch after the other until the queue is empty.
func (c *coalescer[Req, Resp]) processQueue() {
	for batch := c.takeBatch(); batch != nil; batch = c.takeBatch() {
		requests := make([]Req, len(batch))
		for i, pending := range batch {
			requests[i] = pending.request
		}
		for i, result := range c.runBatch(requests) {
			batch[i].result <- result
		}
	}
}

// waitUntilIdle waits until no batch is in progress, up to the timeout. Requests whose callers have returned are
// completed, too.
func (c *coalescer[Req, Resp]) waitUntilIdle(timeout time.Duration) {
	c.mu.Lock()
	idle := c.idle
	c.mu.Unlock()

	if idle == nil {
		return
	}
	select {
	case <-idle:
	case <-time.After(timeout):
	}
}

// runBatch calls work. A panic becomes the result of every request.
func (c *coalescer[Req, Resp]) runBatch(requests []Req) (results []callResult[Resp]) {
	defer func() {
		if cause := recover(); cause != nil {
			results = make([]callResult[Resp], len(requests))
			for i := range results {
				results[i].panicValue = cause
			}
		}
	}()
	return c.work(requests)
}

// takeBatch removes the next batch from the queue. It returns nil if the queue is empty.
func (c *coalescer[Req, Resp]) takeBatch() []*pendingCall[Req, Resp] {
	c.mu.Lock()
	defer c.mu.Unlock()

	if len(c.queue) == 0 {
		c.queue, c.isWorking = nil, false
		close(c.idle)
		return nil
	}

	n := min(len(c.queue), c.maxBatch)
	batch := c.queue[:n:n]
	c.queue = c.queue[n:]
	return batch
}
