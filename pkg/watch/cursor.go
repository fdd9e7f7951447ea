package watch

import (
	"cmp"
	"slices"
	"time"

	"darktower.example/global-controller/service"
)

const (
	// gapTimeout is the time after which a missing id belongs to no change. The store assigns ids before it commits, and no
	// transaction that writes history takes half a minute.
	gapTimeout = 30 * time.Second
	// maxMissing limits the missing ids of one read.
	maxMissing = 4096
)

// cursor records which changes were seen. Changes are delivered in the order in which they appear. A watch that resumes after the
// watermark misses none.
type cursor struct {
	// All changes up to the watermark were seen, except for ids that belong to no change.
	watermark int64
	// seenAbove has the changes above the watermark that were seen, in the order of their ids.
	seenAbove []seenChange
	// highest is the highest id that was seen, or the watermark.
	highest int64
}

type seenChange struct {
	id            int64
	localTimeSeen time.Time // not the store's time, because the store's clock may be set
}

// add records a change, and reports whether it is new.
func (c *cursor) add(t service.Transition, localTimeSeen time.Time) bool {
	index, isKnown := slices.BinarySearchFunc(c.seenAbove, t.ID, func(s seenChange, id int64) int { return cmp.Compare(s.id, id) })
	if t.ID <= c.watermark || isKnown {
		return false
	}
	c.seenAbove = slices.Insert(c.seenAbove, index, seenChange{id: t.ID, localTimeSeen: localTimeSeen})
	c.highest = max(c.highest, t.ID)
	return true
}

// advance moves the watermark up as far as possible.
func (c *cursor) advance(localNow time.Time) {
	n := 0
	for n < len(c.seenAbove) && (c.seenAbove[n].id == c.watermark+1 || localNow.Sub(c.seenAbove[n].localTimeSeen) > gapTimeout) {
		c.watermark = c.seenAbove[n].id
		n++
	}
	c.seenAbove = slices.Delete(c.seenAbove, 0, n)
}

// missing returns the ids between the watermark and the highest id that were not seen, in descending order. If there are more than
// maxMissing, it returns the highest.
func (c *cursor) missing() (ids []int64) {
	next := c.highest
	for i := len(c.seenAbove) - 1; i >= -1; i-- {
		below := c.watermark
		if i >= 0 {
			below = c.seenAbove[i].id
		}
		for ; next > below; next-- {
			if len(ids) == maxMissing {
				return ids
			}
			ids = append(ids, next)
		}
		next = below - 1
	}
	return ids
}
