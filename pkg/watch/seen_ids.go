package watch

import (
	"cmp"
	"slices"
	"time"

	"darktower.example/global-controller/service"
)

// maxMissing limits the missing ids of one read.
const maxMissing = 4096

// seenIDs is the set of the ids of the transitions that were seen. Transitions are delivered in the order in which they appear.
// A watch that resumes after the watermark misses none.
type seenIDs struct {
	// All transitions up to the watermark were seen. Other ids up to it belong to no transition.
	watermark int64
	// seenAbove has the ids above the watermark that were seen, in ascending order.
	seenAbove []seenID
	// highest is the highest id that was seen, or the watermark.
	highest int64
}

type seenID struct {
	id            int64
	localTimeSeen time.Time // not the store's time, because the store's clock may be set
}

// add records a transition, and reports whether it is new.
func (s *seenIDs) add(t service.Transition, localTimeSeen time.Time) bool {
	index, isKnown := slices.BinarySearchFunc(s.seenAbove, t.ID, func(seen seenID, id int64) int { return cmp.Compare(seen.id, id) })
	if t.ID <= s.watermark || isKnown {
		return false
	}
	s.seenAbove = slices.Insert(s.seenAbove, index, seenID{id: t.ID, localTimeSeen: localTimeSeen})
	s.highest = max(s.highest, t.ID)
	return true
}

// advance moves the watermark up to the first id that may still appear. The store assigns ids before it commits, so a missing id
// belongs to no transition once a higher one was seen for [service.MaxHistoryWriteTime].
func (s *seenIDs) advance(localNow time.Time) {
	n := 0
	for n < len(s.seenAbove) {
		seen := s.seenAbove[n]
		if seen.id != s.watermark+1 && localNow.Sub(seen.localTimeSeen) <= service.MaxHistoryWriteTime {
			break
		}
		s.watermark = seen.id
		n++
	}
	s.seenAbove = slices.Delete(s.seenAbove, 0, n)
}

// missing returns the ids between the watermark and the highest id that were not seen, in descending order. If there are more than
// maxMissing, it returns the highest.
func (s *seenIDs) missing() (ids []int64) {
	next := s.highest
	for i := len(s.seenAbove) - 1; i >= -1; i-- {
		below := s.watermark
		if i >= 0 {
			below = s.seenAbove[i].id
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
