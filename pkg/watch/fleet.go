package watch

import (
	"slices"
	"sort"
	"strings"

	"darktower.example/global-controller/service"
)

// fleet holds controllers in the order of their ids. It is never changed: with returns another one, which shares with this
// one every chunk in which nothing changed.
type fleet struct {
	chunks []*chunk
	size   int
}

// chunk is a run of a fleet's controllers, 1 to [partSize] of them.
type chunk struct {
	controllers []*service.Controller
	// loadNumbers has, for each controller, the number of the reading that last changed its load; newest is the highest.
	loadVersions      []uint64
	newestLoadVersion uint64
}

// edit is a change to one controller of a fleet.
type edit struct {
	id         string
	controller *service.Controller // nil: it is removed
	hasNewLoad bool                // Its load changed.
}

// newFleet returns a fleet of controllers, which are in the order of their ids.
func newFleet(controllers []*service.Controller) fleet {
	f := fleet{size: len(controllers)}

	for some := range slices.Chunk(controllers, partSize) {
		f.chunks = append(f.chunks, &chunk{controllers: slices.Clone(some), loadVersions: make([]uint64, len(some))})
	}
	return f
}

// find returns a controller, nil when there is none.
func (f fleet) find(id string) *service.Controller {
	after := sort.Search(len(f.chunks), func(i int) bool { return f.chunks[i].controllers[0].ControllerID > id })
	if after == 0 {
		return nil
	}

	all := f.chunks[after-1].controllers
	at, found := slices.BinarySearchFunc(all, id, func(c *service.Controller, id string) int { return strings.Compare(c.ControllerID, id) })
	if !found {
		return nil
	}
	return all[at]
}

// after returns the chunk with the first controller whose id is above the one given, nil when there is none, and whether it
// is the last.
func (f fleet) chunkAfter(id string) (c *chunk, last bool) {
	at := sort.Search(len(f.chunks), func(i int) bool {
		all := f.chunks[i].controllers
		return all[len(all)-1].ControllerID > id
	})
	if at == len(f.chunks) {
		return nil, true
	}
	return f.chunks[at], at == len(f.chunks)-1
}

// with returns the fleet after edits, which are in the order of their ids, one for each. What they load has the number.
func (f fleet) withEdits(edits []edit, number uint64) fleet {
	if len(edits) == 0 {
		return f
	}

	out := fleet{chunks: make([]*chunk, 0, len(f.chunks)+1)}
	for i, c := range f.chunks {
		n := len(edits)
		if i+1 < len(f.chunks) {
			next := f.chunks[i+1].controllers[0].ControllerID
			n = sort.Search(len(edits), func(i int) bool { return edits[i].id >= next })
		}
		if n == 0 {
			out.chunks = append(out.chunks, c)
			continue
		}
		out.chunks = append(out.chunks, c.withEdits(edits[:n], number)...)
		edits = edits[n:]
	}
	if len(f.chunks) == 0 {
		out.chunks = (&chunk{}).withEdits(edits, number)
	}

	for _, c := range out.chunks {
		out.size += len(c.controllers)
	}
	return out
}

// with returns what becomes of the chunk: several when they would be too many for one, none when nothing is left.
func (c *chunk) withEdits(edits []edit, number uint64) (chunks []*chunk) {
	merged := &chunk{
		controllers:  make([]*service.Controller, 0, len(c.controllers)+len(edits)),
		loadVersions: make([]uint64, 0, len(c.controllers)+len(edits)),
	}
	at := 0
	for _, e := range edits {
		for at < len(c.controllers) && c.controllers[at].ControllerID < e.id {
			merged.append(c.controllers[at], c.loadVersions[at])
			at++
		}
		loaded := uint64(0)
		if at < len(c.controllers) && c.controllers[at].ControllerID == e.id {
			loaded = c.loadVersions[at]
			at++
		}
		if e.hasNewLoad {
			loaded = number
		}
		if e.controller != nil {
			merged.append(e.controller, loaded)
		}
	}
	for ; at < len(c.controllers); at++ {
		merged.append(c.controllers[at], c.loadVersions[at])
	}

	// Even parts, so that the next one to be added does not split them again.
	total := len(merged.controllers)
	parts := (total + partSize - 1) / partSize
	if parts == 1 {
		return []*chunk{merged}
	}
	for i := range parts {
		part := &chunk{}
		for at := i * total / parts; at < (i+1)*total/parts; at++ {
			part.append(merged.controllers[at], merged.loadVersions[at])
		}
		chunks = append(chunks, part)
	}
	return chunks
}

func (c *chunk) append(controller *service.Controller, loaded uint64) {
	c.controllers = append(c.controllers, controller)
	c.loadVersions = append(c.loadVersions, loaded)
	c.newestLoadVersion = max(c.newestLoadVersion, loaded)
}

// between passes the controllers with ids above after, up to and with to, to yield.
func (f fleet) visitBetween(after, to string, yield func(*service.Controller)) {
	for i, c := range f.chunks {
		if i+1 < len(f.chunks) && f.chunks[i+1].controllers[0].ControllerID <= after {
			continue
		}
		for _, one := range c.controllers {
			if one.ControllerID > to {
				return
			}
			if one.ControllerID > after {
				yield(one)
			}
		}
	}
}
