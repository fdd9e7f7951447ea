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
	// The cost factors limit the load of slow reads. The time from the start of one read to the start of the next is at least that
	// multiple of the time that the read took.
	updatesCostFactor = 10 // of updated rows
	rereadCostFactor  = 50 // of the whole fleet
	pageCostFactor    = 2  // of one page of the fleet
	// afterAllIDs is greater than every id of a controller.
	afterAllIDs = "\xff"
)

// readMode is what a background read covers.
type readMode int

const (
	// updatedRows reads the loads of all rows that were updated since the last such read.
	updatedRows readMode = iota
	// fleetPage reads one page of the whole fleet.
	fleetPage
)

// backgroundReader makes the slow reads in a goroutine of its own, so that they delay no change. One read runs at a time.
//
// Only the poller's goroutine uses the fields and methods. The goroutine of a read uses that read only.
type backgroundReader struct {
	hub       *Hub
	running   sync.WaitGroup
	isReading bool
	done      chan *backgroundRead // has room for one
	err       error                // of the last read

	storeTimeOfUpdates  time.Time     // before the last read of updated rows
	localTimeUpdatesDue time.Time     // of the next read of updated rows
	updatesCost         time.Duration // of the last read of updated rows

	localTimeRereadDue time.Time     // of the next read of the whole fleet
	isRereading        bool          // Pages of the fleet are left.
	localTimePageDue   time.Time     // of the next page
	pageAfter          string        // the id after which the next page begins
	rereadCost         time.Duration // of the pages so far

	// isReadByID has the controllers that a poll has read by id since the current read began. The poll's state of them is newer.
	isReadByID map[string]bool
}

// backgroundRead is one read and its result.
type backgroundRead struct {
	mode           readMode
	epoch          *epoch
	storeTimeSince time.Time // of updatedRows: the read has rows that were updated since
	storeTimeAsOf  time.Time // before the read
	pageAfter      string    // of fleetPage: the id after which the page begins
	localTimeBegan time.Time

	updates []service.ControllerUpdate // of updatedRows
	page    []service.Controller       // of fleetPage
	took    time.Duration
	err     error
}

func newBackgroundReader(h *Hub) *backgroundReader {
	return &backgroundReader{hub: h, done: make(chan *backgroundRead, 1)}
}

// scheduleFirstReads schedules the first reads after the whole fleet was read. storeTime is the store's time of that read.
func (b *backgroundReader) scheduleFirstReads(localNow, storeTime time.Time) {
	b.storeTimeOfUpdates = storeTime
	b.localTimeUpdatesDue = localNow.Add(b.hub.refreshInterval())
	b.localTimeRereadDue = localNow.Add(rereadInterval)
	b.isRereading = false
}

// requestReread makes a read of the whole fleet due.
func (b *backgroundReader) requestReread() {
	if !b.isRereading {
		b.localTimeRereadDue = time.Time{}
	}
}

// nextReadDue returns the local time of the next read.
func (b *backgroundReader) nextReadDue() time.Time {
	switch {
	case b.isReading:
		return time.Now().Add(rereadInterval) // The end of the read wakes the hub.
	case b.isRereading && b.localTimePageDue.Before(b.localTimeUpdatesDue):
		return b.localTimePageDue
	case !b.isRereading && b.localTimeRereadDue.Before(b.localTimeUpdatesDue):
		return b.localTimeRereadDue
	default:
		return b.localTimeUpdatesDue
	}
}

// startRead starts the read that is due, if any. If everything may have changed, a read of updated rows is due, unless such reads
// are expensive.
func (b *backgroundReader) startRead(ctx context.Context, localNow time.Time, st *state, everything bool) {
	if everything && b.updatesCost*updatesCostFactor < loadsRefreshInterval {
		b.localTimeUpdatesDue = localNow
	}
	if !b.isRereading && !localNow.Before(b.localTimeRereadDue) {
		b.isRereading = true
		b.localTimePageDue = localNow
		b.pageAfter = ""
		b.rereadCost = 0
	}

	mode, isDue := b.dueRead(localNow)
	if b.isReading || !isDue {
		return
	}
	b.isReading = true
	b.isReadByID = make(map[string]bool)

	read := &backgroundRead{
		mode:           mode,
		epoch:          st.epoch,
		storeTimeSince: b.storeTimeOfUpdates.Add(-updateOverlap),
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

// dueRead returns the mode of the read that is due, and reports whether one is due.
func (b *backgroundReader) dueRead(localNow time.Time) (mode readMode, isDue bool) {
	if !localNow.Before(b.localTimeUpdatesDue) {
		return updatedRows, true
	}
	return fleetPage, b.isRereading && !localNow.Before(b.localTimePageDue)
}

// run makes the read.
func (read *backgroundRead) run(ctx context.Context, source service.ChangeSource) {
	switch read.mode {
	case updatedRows:
		read.updates, read.err = source.ControllersUpdated(ctx, read.storeTimeSince)
	case fleetPage:
		read.page, read.err = source.Controllers(ctx, service.ControllerFilter{AfterID: read.pageAfter, Limit: pageSize})
	}
	read.took = time.Since(read.localTimeBegan)
}

// markReadByID records controllers that a poll has read by id.
func (b *backgroundReader) markReadByID(ids []string) {
	if !b.isReading {
		return
	}
	for _, id := range ids {
		b.isReadByID[id] = true
	}
}

// finishRead schedules the read after a read that has ended. It returns the ended read, nil if that has failed.
func (b *backgroundReader) finishRead(read *backgroundRead, localNow time.Time) *backgroundRead {
	b.isReading = false
	b.err = read.err
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
	b.updatesCost = read.took
	b.localTimeUpdatesDue = read.localTimeBegan.Add(max(b.hub.refreshInterval(), updatesCostFactor*read.took))
	if read.err != nil {
		b.requestReread()
		return
	}
	b.storeTimeOfUpdates = read.storeTimeAsOf
}

func (b *backgroundReader) finishPage(read *backgroundRead, localNow time.Time) {
	if read.err != nil {
		b.isRereading = false
		b.localTimeRereadDue = localNow.Add(b.hub.refreshInterval())
		return
	}

	b.rereadCost += read.took
	b.localTimePageDue = localNow.Add((pageCostFactor - 1) * read.took)
	if len(read.page) == pageSize {
		b.pageAfter = read.page[pageSize-1].ControllerID
		return
	}
	b.isRereading = false
	b.localTimeRereadDue = localNow.Add(max(rereadInterval, rereadCostFactor*b.rereadCost))
}

// applyRead returns the differences of a read to the state. unclear has the ids of controllers whose changes the read does not show
// completely, so that they have to be read by id.
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
		if b.isReadByID[u.ControllerID] {
			continue
		}
		if old := st.fleet.find(u.ControllerID); old != nil && changesLoadOnly(old, u) {
			st.applyController(d, u.ControllerID, withLoad(old, u))
		} else {
			unclear = append(unclear, u.ControllerID)
		}
	}

	if len(unclear) > maxReadByID {
		b.requestReread() // In pages, which delay no change.
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
		case b.isReadByID[c.ControllerID]:
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
		if !isInPage[c.ControllerID] && !b.isReadByID[c.ControllerID] {
			unclear = append(unclear, c.ControllerID)
		}
	})
	return unclear
}
