package store

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// gatherer has requests that come at the same time answered together. While some are at work the next ones gather, so one
// that comes alone is not kept waiting.
type gatherer[Req, Resp any] struct {
	// work answers up to most requests, each for itself.
	work func([]Req) []gathered[Resp]
	most int

	mu      sync.Mutex
	queue   []*gathering[Req, Resp]
	working bool
	idle    chan struct{} // Closed when nothing is at work; nil before the first request.
}

// gathered is what one request is answered with.
type gathered[Resp any] struct {
	value    Resp
	err      error
	panicked any
}

type gathering[Req, Resp any] struct {
	request Req
	answer  chan gathered[Resp] // Has room for it.
}

// do waits for the answer, no longer than ctx lasts; the request is then answered without its caller.
func (g *gatherer[Req, Resp]) do(ctx context.Context, request Req) (none Resp, _ error) {
	one := &gathering[Req, Resp]{request, make(chan gathered[Resp], 1)}
	if !g.add(one) {
		return none, unavailable("too many wait for a commit")
	}
	select {
	case a := <-one.answer:
		if a.panicked != nil {
			panic(a.panicked) //nolint:forbidigo // It goes on where the caller can catch it.
		}
		return a.value, a.err
	case <-ctx.Done():
		return none, fmt.Errorf("wait for a commit: %w", ctx.Err())
	}
}

// add tells whether there was room.
func (g *gatherer[Req, Resp]) add(one *gathering[Req, Resp]) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.queue) >= maxQueued {
		return false
	}
	g.queue = append(g.queue, one)
	if !g.working {
		g.working, g.idle = true, make(chan struct{})
		go g.run()
	}
	return true
}

// run answers what is queued until nothing is left.
func (g *gatherer[Req, Resp]) run() {
	for some := g.take(); some != nil; some = g.take() {
		requests := make([]Req, len(some))
		for i, one := range some {
			requests[i] = one.request
		}
		for i, a := range g.answer(requests) {
			some[i].answer <- a
		}
	}
}

// settle waits until nothing is at work, no longer than limit: what is answered without its caller goes on all the same.
func (g *gatherer[Req, Resp]) settle(limit time.Duration) {
	g.mu.Lock()
	idle := g.idle
	g.mu.Unlock()
	if idle == nil {
		return
	}
	select {
	case <-idle:
	case <-time.After(limit):
	}
}

func (g *gatherer[Req, Resp]) answer(requests []Req) (answers []gathered[Resp]) {
	defer func() {
		if cause := recover(); cause != nil {
			answers = make([]gathered[Resp], len(requests))
			for i := range answers {
				answers[i].panicked = cause
			}
		}
	}()
	return g.work(requests)
}

func (g *gatherer[Req, Resp]) take() []*gathering[Req, Resp] {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.queue) == 0 {
		g.queue, g.working = nil, false
		close(g.idle)
		return nil
	}
	n := min(len(g.queue), g.most)
	some := g.queue[:n:n]
	g.queue = g.queue[n:]
	return some
}
