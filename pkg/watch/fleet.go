package watch

import (
	"slices"
	"sort"
	"strings"

	"darktower.example/global-controller/service"
)

// fleet has controllers in the order of their ids. It never changes: withEdits returns another fleet, which shares all chunks
// without a change with this one.
type fleet struct {
	chunks []*chunk
	size   int
}

// chunk is a sequence of 1 to [partSize] controllers of a fleet.
type chunk struct {
	controllers []*service.Controller
	// loadVersions has, for each controller, the load version of the last change of its load.
	loadVersions      []uint64
	newestLoadVersion uint64
}

// edit is a change to one controller of a fleet.
type edit struct {
	id         string
	controller *service.Controller // nil: the controller is removed
	hasNewLoad bool
}

// newFleet returns a fleet of controllers, which must be in the order of their ids.
func newFleet(controllers []*service.Controller) fleet {
	f := fleet{size: len(controllers)}
	for part := range slices.Chunk(controllers, partSize) {
		f.chunks = append(f.chunks, &chunk{controllers: slices.Clone(part), loadVersions: make([]uint64, len(part))})
	}
	return f
}

// find returns a controller, nil if there is none with the id.
func (f fleet) find(id string) *service.Controller {
	after := sort.Search(len(f.chunks), func(i int) bool { return f.chunks[i].controllers[0].ControllerID > id })
	if after == 0 {
		return nil
	}

	controllers := f.chunks[after-1].controllers
	index, isFound := slices.BinarySearchFunc(controllers, id, func(c *service.Controller, id string) int {
		return strings.Compare(c.ControllerID, id)
	})
	if !isFound {
		return nil
	}
	return controllers[index]
}

// chunkAfter returns the chunk with the first controller above the id, nil if there is none, and reports whether it is the last.
func (f fleet) chunkAfter(id string) (c *chunk, isLast bool) {
	index := sort.Search(len(f.chunks), func(i int) bool {
		controllers := f.chunks[i].controllers
		return controllers[len(controllers)-1].ControllerID > id
	})
	if index == len(f.chunks) {
		return nil, true
	}
	return f.chunks[index], index == len(f.chunks)-1
}

// withEdits returns the fleet after edits, which must be in the order of their ids with one for each id. New loads get the load
// version.
func (f fleet) withEdits(edits []edit, loadVersion uint64) fleet {
	if len(edits) == 0 {
		return f
	}

	edited := fleet{chunks: make([]*chunk, 0, len(f.chunks)+1)}
	for i, c := range f.chunks {
		n := len(edits)
		if i+1 < len(f.chunks) {
			nextID := f.chunks[i+1].controllers[0].ControllerID
			n = sort.Search(len(edits), func(i int) bool { return edits[i].id >= nextID })
		}
		if n == 0 {
			edited.chunks = append(edited.chunks, c)
			continue
		}
		edited.chunks = append(edited.chunks, c.withEdits(edits[:n], loadVersion)...)
		edits = edits[n:]
	}
	if len(f.chunks) == 0 {
		edited.chunks = (&chunk{}).withEdits(edits, loadVersion)
	}

	for _, c := range edited.chunks {
		edited.size += len(c.controllers)
	}
	return edited
}

// withEdits returns the chunk after edits. The result is several chunks if it is too large for one, and none if it is empty.
func (c *chunk) withEdits(edits []edit, loadVersion uint64) []*chunk {
	merged := &chunk{
		controllers:  make([]*service.Controller, 0, len(c.controllers)+len(edits)),
		loadVersions: make([]uint64, 0, len(c.controllers)+len(edits)),
	}

	next := 0 // the first controller of c that is not merged yet
	for _, e := range edits {
		for next < len(c.controllers) && c.controllers[next].ControllerID < e.id {
			merged.append(c.controllers[next], c.loadVersions[next])
			next++
		}

		version := uint64(0)
		if next < len(c.controllers) && c.controllers[next].ControllerID == e.id {
			version = c.loadVersions[next]
			next++
		}
		if e.hasNewLoad {
			version = loadVersion
		}
		if e.controller != nil {
			merged.append(e.controller, version)
		}
	}
	for ; next < len(c.controllers); next++ {
		merged.append(c.controllers[next], c.loadVersions[next])
	}

	return merged.split()
}

// split returns the chunk as chunks of at most partSize controllers. They have equal sizes, so that the next controllers do not make
// another split necessary.
func (c *chunk) split() (chunks []*chunk) {
	total := len(c.controllers)
	count := (total + partSize - 1) / partSize
	if count == 1 {
		return []*chunk{c}
	}

	for i := range count {
		part := &chunk{}
		for index := i * total / count; index < (i+1)*total/count; index++ {
			part.append(c.controllers[index], c.loadVersions[index])
		}
		chunks = append(chunks, part)
	}
	return chunks
}

func (c *chunk) append(controller *service.Controller, loadVersion uint64) {
	c.controllers = append(c.controllers, controller)
	c.loadVersions = append(c.loadVersions, loadVersion)
	c.newestLoadVersion = max(c.newestLoadVersion, loadVersion)
}

// visitBetween calls visit for the controllers with ids above after, up to and including last.
func (f fleet) visitBetween(after, last string, visit func(*service.Controller)) {
	for i, chunk := range f.chunks {
		if i+1 < len(f.chunks) && f.chunks[i+1].controllers[0].ControllerID <= after {
			continue
		}
		for _, c := range chunk.controllers {
			if c.ControllerID > last {
				return
			}
			if c.ControllerID > after {
				visit(c)
			}
		}
	}
}
