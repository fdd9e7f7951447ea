package watch

import (
	"context"
	"sync"
	"time"

	"darktower.example/global-controller/service"
)

const (
	// updateSlack is how much earlier than the last time rows are looked for: those of transactions that were under way.
	updateSlack = time.Second
	// pollShare, rereadShare and pageShare bound which part of the time is spent on looking for updated rows, on reading the whole
	// fleet again, and on its pages while that goes on: as many times as long as one took passes from its begin to the next.
	pollShare, rereadShare, pageShare = 10, 50, 2
)

// beside reads what takes long, in a goroutine of its own, so that no change waits for it: what was updated lately, and,
// page by page, once in a while, the whole fleet. One thing is read at a time. All but read belongs to the goroutine of
// the rounds.
type beside struct {
	hub     *Hub
	running sync.WaitGroup
	busy    bool
	done    chan *besideRead // has room for one
	err     error            // how the last one ended

	// since is a time by the store's clock before the last poll.
	since    time.Time
	poll     time.Time // when the next is due, by our clock
	pollCost time.Duration

	reread     time.Time // when the next begins
	rereading  bool
	page       time.Time // when the next page is due
	after      string    // the id that it begins after
	rereadTook time.Duration

	// overtaken are controllers that a round has read by name since what is read now began: theirs is the later state.
	overtaken map[string]bool
}

// besideRead is something to read, and what was found.
type besideRead struct {
	of    *epoch
	since time.Time // of a poll, by the store's clock; zero for a page of the fleet
	asOf  time.Time // by the store's clock, before it was read
	after string
	// updates are what a poll found, rows what a page has.
	updates []service.ControllerUpdate
	rows    []service.Controller
	began   time.Time // by our clock
	took    time.Duration
	err     error
}

func newBeside(h *Hub) *beside { return &beside{hub: h, done: make(chan *besideRead, 1)} }

// start has everything due an interval after the fleet was read as it was at a time by the store's clock.
func (b *beside) start(now, since time.Time) {
	b.since, b.poll, b.reread, b.rereading = since, now.Add(b.hub.interval()), now.Add(rereadEvery), false
}

// rereadSoon has the fleet read again, after trouble.
func (b *beside) rereadSoon() {
	if !b.rereading {
		b.reread = time.Time{}
	}
}

// due is when there is something to read.
func (b *beside) due() time.Time {
	due := b.poll
	switch {
	case b.busy:
		return time.Now().Add(rereadEvery) // Its end wakes the hub.
	case b.rereading && b.page.Before(due):
		return b.page
	case !b.rereading && b.reread.Before(due):
		return b.reread
	}
	return due
}

// begin begins to read what is due for a state.
func (b *beside) begin(ctx context.Context, now time.Time, st *state, everything bool) {
	if everything && b.pollCost*pollShare < refreshLoads {
		b.poll = now
	}
	if !b.rereading && !now.Before(b.reread) {
		b.rereading, b.page, b.after, b.rereadTook = true, now, "", 0
	}
	if b.busy {
		return
	}

	read := &besideRead{of: st.epoch, asOf: st.asOf, began: now}
	switch {
	case !now.Before(b.poll):
		read.since = b.since.Add(-updateSlack)
	case b.rereading && !now.Before(b.page):
		read.after = b.after
	default:
		return
	}
	b.busy, b.overtaken = true, make(map[string]bool)
	b.running.Go(func() {
		if !read.since.IsZero() {
			read.updates, read.err = b.hub.cfg.Source.ControllersUpdated(ctx, read.since)
		} else {
			read.rows, read.err = b.hub.cfg.Source.Controllers(ctx, service.ControllerFilter{AfterID: read.after, Limit: pageSize})
		}
		read.took = time.Since(read.began)
		b.done <- read
		b.hub.wakeUp()
	})
}

// overtake notes controllers that were read by name.
func (b *beside) overtake(ids []string) {
	if !b.busy {
		return
	}
	for _, id := range ids {
		b.overtaken[id] = true
	}
}

// end takes what was read, and returns it unless that failed.
func (b *beside) end(read *besideRead, now time.Time) *besideRead {
	b.busy, b.err = false, read.err
	isPoll := !read.since.IsZero()
	if isPoll {
		b.pollCost = read.took
		b.poll = read.began.Add(max(b.hub.interval(), pollShare*read.took))
	}
	switch {
	case read.err != nil && isPoll:
		b.rereadSoon()
		return nil
	case read.err != nil:
		b.rereading, b.reread = false, now.Add(b.hub.interval())
		return nil
	case isPoll:
		b.since = read.asOf
		return read
	}

	b.rereadTook += read.took
	b.page = now.Add((pageShare - 1) * read.took)
	if len(read.rows) < pageSize {
		b.rereading, b.reread = false, now.Add(max(rereadEvery, rereadShare*b.rereadTook))
	} else {
		b.after = read.rows[len(read.rows)-1].ControllerID
	}
	return read
}

// compare returns what of it is new, and controllers that are to be read by name because more of them changed than is told.
func (b *beside) compare(st *state, read *besideRead) (d *delivery, named []string) {
	d = st.newDelivery()
	if !read.since.IsZero() {
		for i := range read.updates {
			u := &read.updates[i]
			if b.overtaken[u.ControllerID] {
				continue
			}
			if old := st.fleet.find(u.ControllerID); old != nil && onlyLoadChanged(old, u) {
				st.compare(d, u.ControllerID, withLoad(old, u))
			} else {
				named = append(named, u.ControllerID)
			}
		}
		if len(named) > namedAtMost {
			b.rereadSoon() // Page by page, which no change waits for.
			named = nil
		}
		return d, named
	}

	there := make(map[string]bool, len(read.rows))
	for i := range read.rows {
		c := &read.rows[i]
		there[c.ControllerID] = true
		switch {
		case b.overtaken[c.ControllerID]:
		case st.hasNewHealth(c.ControllerID, c):
			named = append(named, c.ControllerID)
		default:
			st.compare(d, c.ControllerID, c)
		}
	}
	to := "\xff"
	if len(read.rows) == pageSize {
		to = read.rows[pageSize-1].ControllerID
	}
	st.fleet.between(read.after, to, func(c *service.Controller) {
		if !there[c.ControllerID] && !b.overtaken[c.ControllerID] {
			named = append(named, c.ControllerID)
		}
	})
	return d, named
}
