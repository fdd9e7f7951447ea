package watch

import (
	"context"
	"sync"
	"time"

	"darktower.example/global-controller/service"
)

const (
	// updateSlack is how far each poll reaches back before the last one, for rows of transactions that were still open.
	updateOverlap = time.Second
	// pollShare, rereadShare and pageShare limit the load of the polls, of the re-reads of the fleet, and of the pages within a
	// re-read: the time from one start to the next is at least that multiple of what the read took.
	pollCostFactor, rereadCostFactor, pageCostFactor = 10, 50, 2
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
	storeTimeOfPoll  time.Time
	localTimePollDue time.Time // when the next is due, by our clock
	pollCost         time.Duration

	localTimeRereadDue time.Time // when the next begins
	isRereading        bool
	localTimePageDue   time.Time // when the next page is due
	pageAfter          string    // the id that it begins after
	rereadCost         time.Duration

	// readByName has the controllers that a round read since the current read began. The round's state is the later one.
	readByName map[string]bool
}

// backgroundRead is one read and its result.
type backgroundRead struct {
	epoch          *epoch
	storeTimeSince time.Time // of a poll, by the store's clock; zero for a page of the fleet
	storeTimeAsOf  time.Time // by the store's clock, before it was read
	after          string
	// updates are what a poll found, rows what a page has.
	updates        []service.ControllerUpdate
	rows           []service.Controller
	localTimeBegan time.Time // by our clock
	took           time.Duration
	err            error
}

func newBackgroundReader(h *Hub) *backgroundReader {
	return &backgroundReader{hub: h, done: make(chan *backgroundRead, 1)}
}

// schedule sets the times of the next reads after the fleet was read. since is the time of that read by the store's clock.
func (b *backgroundReader) scheduleFrom(now, since time.Time) {
	b.storeTimeOfPoll, b.localTimePollDue, b.localTimeRereadDue, b.isRereading = since, now.Add(b.hub.refreshInterval()), now.Add(rereadInterval), false
}

// rereadSoon schedules a re-read of the fleet for the next round, after a failure.
func (b *backgroundReader) rereadSoon() {
	if !b.isRereading {
		b.localTimeRereadDue = time.Time{}
	}
}

// nextAt returns when the next read is due.
func (b *backgroundReader) nextDue() time.Time {
	due := b.localTimePollDue
	switch {
	case b.isReading:
		return time.Now().Add(rereadInterval) // Its end wakes the hub.
	case b.isRereading && b.localTimePageDue.Before(due):
		return b.localTimePageDue
	case !b.isRereading && b.localTimeRereadDue.Before(due):
		return b.localTimeRereadDue
	}
	return due
}

// startRead starts the read that is due, if any. everything makes a poll due at once, unless polls are expensive.
func (b *backgroundReader) startRead(ctx context.Context, now time.Time, st *state, everything bool) {
	if everything && b.pollCost*pollCostFactor < loadsRefreshInterval {
		b.localTimePollDue = now
	}
	if !b.isRereading && !now.Before(b.localTimeRereadDue) {
		b.isRereading, b.localTimePageDue, b.pageAfter, b.rereadCost = true, now, "", 0
	}
	if b.isReading {
		return
	}

	read := &backgroundRead{epoch: st.epoch, storeTimeAsOf: st.asOf, localTimeBegan: now}
	switch {
	case !now.Before(b.localTimePollDue):
		read.storeTimeSince = b.storeTimeOfPoll.Add(-updateOverlap)
	case b.isRereading && !now.Before(b.localTimePageDue):
		read.after = b.pageAfter
	default:
		return
	}

	b.isReading, b.readByName = true, make(map[string]bool)
	b.running.Go(func() {
		if !read.storeTimeSince.IsZero() {
			read.updates, read.err = b.hub.cfg.Source.ControllersUpdated(ctx, read.storeTimeSince)
		} else {
			read.rows, read.err = b.hub.cfg.Source.Controllers(ctx, service.ControllerFilter{AfterID: read.after, Limit: pageSize})
		}
		read.took = time.Since(read.localTimeBegan)
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
	isPoll := !read.storeTimeSince.IsZero()
	if isPoll {
		b.pollCost = read.took
		b.localTimePollDue = read.localTimeBegan.Add(max(b.hub.refreshInterval(), pollCostFactor*read.took))
	}

	switch {
	case read.err != nil && isPoll:
		b.rereadSoon()
		return nil
	case read.err != nil:
		b.isRereading, b.localTimeRereadDue = false, now.Add(b.hub.refreshInterval())
		return nil
	case isPoll:
		b.storeTimeOfPoll = read.storeTimeAsOf
		return read
	}

	b.rereadCost += read.took
	b.localTimePageDue = now.Add((pageCostFactor - 1) * read.took)
	if len(read.rows) < pageSize {
		b.isRereading, b.localTimeRereadDue = false, now.Add(max(rereadInterval, rereadCostFactor*b.rereadCost))
	} else {
		b.pageAfter = read.rows[len(read.rows)-1].ControllerID
	}
	return read
}

// compare returns the differences to the state, and the ids of controllers to read by name, because the read does not show all
// that changed.
func (b *backgroundReader) applyRead(st *state, read *backgroundRead) (d *delivery, named []string) {
	d = st.newDelivery()
	if !read.storeTimeSince.IsZero() {
		for i := range read.updates {
			u := &read.updates[i]
			if b.readByName[u.ControllerID] {
				continue
			}
			if old := st.fleet.find(u.ControllerID); old != nil && changesLoadOnly(old, u) {
				st.applyController(d, u.ControllerID, withLoad(old, u))
			} else {
				named = append(named, u.ControllerID)
			}
		}
		if len(named) > maxNamed {
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
			st.applyController(d, c.ControllerID, c)
		}
	}

	to := "\xff"
	if len(read.rows) == pageSize {
		to = read.rows[pageSize-1].ControllerID
	}
	st.fleet.visitBetween(read.after, to, func(c *service.Controller) {
		if !there[c.ControllerID] && !b.readByName[c.ControllerID] {
			named = append(named, c.ControllerID)
		}
	})
	return d, named
}
