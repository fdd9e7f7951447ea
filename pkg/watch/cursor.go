package watch

import (
	"cmp"
	"slices"
	"time"

	"darktower.example/global-controller/service"
)

const (
	// neverComes is after how long an id that is missing belongs to no change: the store gives ids out before it commits,
	// and nothing that writes history takes half a minute.
	gapTimeout = 30 * time.Second
	// missingAtMost bounds how many ids are looked for that were passed over.
	maxMissing = 4096
)

// cursor knows which changes have been seen. They are passed on in whatever order they appear, and who goes on after the
// watermark misses none.
type cursor struct {
	// watermark: all changes up to this one have been seen, or never come.
	watermark int64
	// above are those that have been seen above the watermark, in the order of their ids.
	seenAbove []seenChange
	// highest is the highest that has been seen, or the watermark.
	highest int64
}

type seenChange struct {
	id            int64
	localTimeSeen time.Time // by our clock: the store's may be set
}

// add takes note of a change that was seen at a time by our clock, and reports whether it is new.
func (c *cursor) add(t service.Transition, seen time.Time) bool {
	at, found := slices.BinarySearchFunc(c.seenAbove, t.ID, func(s seenChange, id int64) int { return cmp.Compare(s.id, id) })
	if t.ID <= c.watermark || found {
		return false
	}
	c.seenAbove = slices.Insert(c.seenAbove, at, seenChange{t.ID, seen})
	c.highest = max(c.highest, t.ID)
	return true
}

// settle moves the watermark as far as can be. now is by our clock.
func (c *cursor) advance(now time.Time) {
	n := 0
	for n < len(c.seenAbove) && (c.seenAbove[n].id == c.watermark+1 || now.Sub(c.seenAbove[n].localTimeSeen) > gapTimeout) {
		c.watermark = c.seenAbove[n].id
		n++
	}
	c.seenAbove = slices.Delete(c.seenAbove, 0, n)
}

// missing returns the ids above the watermark that were passed over, the highest of them when they are too many.
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
