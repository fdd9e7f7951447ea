package watch

import (
	"context"
	"sync"
	"time"

	"darktower.example/global-controller/service"
)

const (
	// updateOverlap is how far each read of updated rows reaches back before the last one. Transactions that were open then may have
	// committed rows in the meantime.
	updateOverlap = time.Second
	// The cost factors limit the load of slow reads: the time from the begin of one read to the next is at least that multiple of the
	// time that the read took. They are for reads of updated rows, of the whole fleet, and of one page of it.
	pollCostFactor, rereadCostFactor, pageCostFactor = 10, 50, 2
	// afterAllIDs is greater than every id of a controller.
	afterAllIDs = "\xff"
)

// pollMode is what a read of the store covers.
type pollMode int

const (
	// changesOnly reads the history and the controllers that changed. The poller makes such reads itself.
	changesOnly pollMode = iota
	// updatedRows reads the loads of all rows that were updated since the last such read.
	updatedRows
	// fullFleet reads one page of the whole fleet.
	fullFleet
)

// backgroundReader makes the slow reads in a goroutine of its own, so that they delay no change. One read runs at a time. Only the
// poller's goroutine uses the fields and methods; the goroutine of a read uses that read only.
type backgroundReader struct {
	hub       *Hub
	running   sync.WaitGroup
	isReading bool
	done      chan *backgroundRead // has room for one
	err       error                // of the last read

	storeTimeOfPoll  time.Time // before the last read of updated rows
	localTimePollDue time.Time
	pollCost         time.Duration

	localTimeRereadDue time.Time
	isRereading        bool
	localTimePageDue   time.Time
	pageAfter          string // the id after which the next page begins
	rereadCost         time.Duration

	// readByName has the controllers that a poll has read by name since the current read began. The poll's state of them is newer.
	readByName map[string]bool
}

// backgroundRead is one read and its result.
type backgroundRead struct {
	mode           pollMode
	epoch          *epoch
	storeTimeSince time.Time // of updatedRows: the read has rows that were updated since
	storeTimeAsOf  time.Time // before the read
	pageAfter      string    // of fullFleet: the id after which the page begins
	localTimeBegan time.Time

	updates []service.ControllerUpdate // of updatedRows
	page    []service.Controller       // of fullFleet
	took    time.Duration
	err     error
}

func newBackgroundReader(h *Hub) *backgroundReader {
	return &backgroundReader{hub: h, done: make(chan *backgroundRead, 1)}
}

// scheduleFrom schedules the first reads after the whole fleet was read. storeTime is the store's time of that read.
func (b *backgroundReader) scheduleFrom(localNow, storeTime time.Time) {
	b.storeTimeOfPoll = storeTime
	b.localTimePollDue = localNow.Add(b.hub.refreshInterval())
	b.localTimeRereadDue = localNow.Add(rereadInterval)
	b.isRereading = false
}

// rereadSoon schedules a read of the whole fleet for the next poll.
func (b *backgroundReader) rereadSoon() {
	if !b.isRereading {
		b.localTimeRereadDue = time.Time{}
	}
}

// nextDue returns the local time of the next read.
func (b *backgroundReader) nextDue() time.Time {
	switch {
	case b.isReading:
		return time.Now().Add(rereadInterval) // The end of the read wakes the hub.
	case b.isRereading && b.localTimePageDue.Before(b.localTimePollDue):
		return b.localTimePageDue
	case !b.isRereading && b.localTimeRereadDue.Before(b.localTimePollDue):
		return b.localTimeRereadDue
	default:
		return b.localTimePollDue
	}
}

// startRead starts the read that is due, if any. If everything may have changed, a read of updated rows is due, unless such reads
// are expensive.
func (b *backgroundReader) startRead(ctx context.Context, localNow time.Time, st *state, everything bool) {
	if everything && b.pollCost*pollCostFactor < loadsRefreshInterval {
		b.localTimePollDue = localNow
	}
	if !b.isRereading && !localNow.Before(b.localTimeRereadDue) {
		b.isRereading = true
		b.localTimePageDue = localNow
		b.pageAfter = ""
		b.rereadCost = 0
	}

	mode := b.dueMode(localNow)
	if b.isReading || mode == changesOnly {
		return
	}
	b.isReading = true
	b.readByName = make(map[string]bool)
	read := &backgroundRead{
		mode:           mode,
		epoch:          st.epoch,
		storeTimeSince: b.storeTimeOfPoll.Add(-updateOverlap),
		storeTimeAsOf:  st.asOf,
		pageAfter:      b.pageAfter,
		localTimeBegan: localNow,
	}
	b.running.Go(func() {
		read.run(ctx, b.hub.cfg.Source)
		b.done <- read
		b.hub.wakeUp()
	})
}

// dueMode returns the mode of the read that is due, changesOnly if none is.
func (b *backgroundReader) dueMode(localNow time.Time) pollMode {
	switch {
	case !localNow.Before(b.localTimePollDue):
		return updatedRows
	case b.isRereading && !localNow.Before(b.localTimePageDue):
		return fullFleet
	default:
		return changesOnly
	}
}

// run makes the read.
func (read *backgroundRead) run(ctx context.Context, source service.ChangeSource) {
	switch read.mode {
	case updatedRows:
		read.updates, read.err = source.ControllersUpdated(ctx, read.storeTimeSince)
	case fullFleet:
		read.page, read.err = source.Controllers(ctx, service.ControllerFilter{AfterID: read.pageAfter, Limit: pageSize})
	case changesOnly: // not a background read
	}
	read.took = time.Since(read.localTimeBegan)
}

// markReadByName records controllers that a poll has read by name.
func (b *backgroundReader) markReadByName(ids []string) {
	if !b.isReading {
		return
	}
	for _, id := range ids {
		b.readByName[id] = true
	}
}

// finish schedules the read after a read that has ended. It returns the ended read, nil if that has failed.
func (b *backgroundReader) finish(read *backgroundRead, localNow time.Time) *backgroundRead {
	b.isReading, b.err = false, read.err
	if read.mode == updatedRows {
		b.finishUpdatedRows(read)
	} else {
		b.finishPage(read, localNow)
	}
	if read.err != nil {
		return nil
	}
	return read
}

func (b *backgroundReader) finishUpdatedRows(read *backgroundRead) {
	b.pollCost = read.took
	b.localTimePollDue = read.localTimeBegan.Add(max(b.hub.refreshInterval(), pollCostFactor*read.took))
	if read.err != nil {
		b.rereadSoon()
		return
	}
	b.storeTimeOfPoll = read.storeTimeAsOf
}

func (b *backgroundReader) finishPage(read *backgroundRead, localNow time.Time) {
	if read.err != nil {
		b.isRereading, b.localTimeRereadDue = false, localNow.Add(b.hub.refreshInterval())
		return
	}

	b.rereadCost += read.took
	b.localTimePageDue = localNow.Add((pageCostFactor - 1) * read.took)
	if len(read.page) == pageSize {
		b.pageAfter = read.page[pageSize-1].ControllerID
		return
	}
	b.isRereading, b.localTimeRereadDue = false, localNow.Add(max(rereadInterval, rereadCostFactor*b.rereadCost))
}

// applyRead returns the differences of a read to the state. unclear has the ids of controllers whose changes the read does not show
// completely, so that they have to be read by name.
func (b *backgroundReader) applyRead(st *state, read *backgroundRead) (d *delivery, unclear []string) {
	d = st.newDelivery()
	if read.mode == updatedRows {
		return d, b.applyUpdates(st, d, read.updates)
	}
	return d, b.applyPage(st, d, read)
}

func (b *backgroundReader) applyUpdates(st *state, d *delivery, updates []service.ControllerUpdate) (unclear []string) {
	for i := range updates {
		u := &updates[i]
		if b.readByName[u.ControllerID] {
			continue
		}
		if old := st.fleet.find(u.ControllerID); old != nil && changesLoadOnly(old, u) {
			st.applyController(d, u.ControllerID, withLoad(old, u))
		} else {
			unclear = append(unclear, u.ControllerID)
		}
	}

	if len(unclear) > maxNamed {
		b.rereadSoon() // In pages, which delay no change.
		return nil
	}
	return unclear
}

func (b *backgroundReader) applyPage(st *state, d *delivery, read *backgroundRead) (unclear []string) {
	isInPage := make(map[string]bool, len(read.page))
	for i := range read.page {
		c := &read.page[i]
		isInPage[c.ControllerID] = true
		switch {
		case b.readByName[c.ControllerID]:
		case st.hasNewHealth(c.ControllerID, c):
			unclear = append(unclear, c.ControllerID)
		default:
			st.applyController(d, c.ControllerID, c)
		}
	}

	last := afterAllIDs
	if len(read.page) == pageSize {
		last = read.page[pageSize-1].ControllerID
	}
	st.fleet.visitBetween(read.pageAfter, last, func(c *service.Controller) {
		if !isInPage[c.ControllerID] && !b.readByName[c.ControllerID] {
			unclear = append(unclear, c.ControllerID)
		}
	})
	return unclear
}
