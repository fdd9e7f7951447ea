package watch

import (
	"context"
	"sync"
	"time"

	"darktower.example/global-controller/service"
)

const (
	// updateSlack is how far each poll reaches back before the last one, for rows of transactions that were still open.
	updateSlack = time.Second
	// pollShare, rereadShare and pageShare limit the load of the polls, of the re-reads of the fleet, and of the pages within a
	// re-read: the time from one start to the next is at least that multiple of what the read took.
	pollShare, rereadShare, pageShare = 10, 50, 2
)

// backgroundReader makes the slow reads in a goroutine of its own, so that no change waits for them: polls for updated rows,
// and periodic re-reads of the whole fleet, page by page. One read runs at a time. Only the goroutine of the rounds uses the
// fields and methods; the goroutine of a read uses that read only.
type backgroundReader struct {
	hub       *Hub
	running   sync.WaitGroup
	isReading bool
	done      chan *backgroundRead // has room for one
	err       error                // how the last one ended

	// since is a time by the store's clock before the last poll.
	since    time.Time
	pollAt   time.Time // when the next is due, by our clock
	pollCost time.Duration

	rereadAt    time.Time // when the next begins
	isRereading bool
	pageAt      time.Time // when the next page is due
	after       string    // the id that it begins after
	rereadCost  time.Duration

	// readByName has the controllers that a round read since the current read began. The round's state is the later one.
	readByName map[string]bool
}

// backgroundRead is one read and its result.
type backgroundRead struct {
	epoch *epoch
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

func newBackgroundReader(h *Hub) *backgroundReader {
	return &backgroundReader{hub: h, done: make(chan *backgroundRead, 1)}
}

// schedule sets the times of the next reads after the fleet was read. since is the time of that read by the store's clock.
func (b *backgroundReader) schedule(now, since time.Time) {
	b.since, b.pollAt, b.rereadAt, b.isRereading = since, now.Add(b.hub.interval()), now.Add(rereadEvery), false
}

// rereadSoon schedules a re-read of the fleet for the next round, after a failure.
func (b *backgroundReader) rereadSoon() {
	if !b.isRereading {
		b.rereadAt = time.Time{}
	}
}

// nextAt returns when the next read is due.
func (b *backgroundReader) nextAt() time.Time {
	due := b.pollAt
	switch {
	case b.isReading:
		return time.Now().Add(rereadEvery) // Its end wakes the hub.
	case b.isRereading && b.pageAt.Before(due):
		return b.pageAt
	case !b.isRereading && b.rereadAt.Before(due):
		return b.rereadAt
	}
	return due
}

// startRead starts the read that is due, if any. everything makes a poll due at once, unless polls are expensive.
func (b *backgroundReader) startRead(ctx context.Context, now time.Time, st *state, everything bool) {
	if everything && b.pollCost*pollShare < refreshLoads {
		b.pollAt = now
	}
	if !b.isRereading && !now.Before(b.rereadAt) {
		b.isRereading, b.pageAt, b.after, b.rereadCost = true, now, "", 0
	}
	if b.isReading {
		return
	}

	read := &backgroundRead{epoch: st.epoch, asOf: st.asOf, began: now}
	switch {
	case !now.Before(b.pollAt):
		read.since = b.since.Add(-updateSlack)
	case b.isRereading && !now.Before(b.pageAt):
		read.after = b.after
	default:
		return
	}

	b.isReading, b.readByName = true, make(map[string]bool)
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

// markReadByName records controllers that a round has read by name.
func (b *backgroundReader) markReadByName(ids []string) {
	if !b.isReading {
		return
	}
	for _, id := range ids {
		b.readByName[id] = true
	}
}

// finish takes the result of a read and schedules the next one. It returns nil if the read failed.
func (b *backgroundReader) finish(read *backgroundRead, now time.Time) *backgroundRead {
	b.isReading, b.err = false, read.err
	isPoll := !read.since.IsZero()
	if isPoll {
		b.pollCost = read.took
		b.pollAt = read.began.Add(max(b.hub.interval(), pollShare*read.took))
	}

	switch {
	case read.err != nil && isPoll:
		b.rereadSoon()
		return nil
	case read.err != nil:
		b.isRereading, b.rereadAt = false, now.Add(b.hub.interval())
		return nil
	case isPoll:
		b.since = read.asOf
		return read
	}

	b.rereadCost += read.took
	b.pageAt = now.Add((pageShare - 1) * read.took)
	if len(read.rows) < pageSize {
		b.isRereading, b.rereadAt = false, now.Add(max(rereadEvery, rereadShare*b.rereadCost))
	} else {
		b.after = read.rows[len(read.rows)-1].ControllerID
	}
	return read
}

// compare returns the differences to the state, and the ids of controllers to read by name, because the read does not show all
// that changed.
func (b *backgroundReader) compare(st *state, read *backgroundRead) (d *delivery, named []string) {
	d = st.newDelivery()
	if !read.since.IsZero() {
		for i := range read.updates {
			u := &read.updates[i]
			if b.readByName[u.ControllerID] {
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
		case b.readByName[c.ControllerID]:
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
		if !there[c.ControllerID] && !b.readByName[c.ControllerID] {
			named = append(named, c.ControllerID)
		}
	})
	return d, named
}
