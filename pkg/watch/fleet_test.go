package watch

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"darktower.example/global-controller/service"
)

// TestFleet_RandomEditsMatchMap compares a fleet with a map after random edits. It also checks that no edit changes the fleet before it.
func TestFleet_RandomEditsMatchMap(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	want, f := map[string]*service.Controller{}, fleet{}
	for step := range 300 {
		edits := map[string]edit{}
		for range random.IntN(2 * partSize) {
			e := edit{id: fmt.Sprintf("mc-%04d", random.IntN(2000)), hasNewLoad: random.IntN(2) == 0}
			if random.IntN(3) > 0 {
				e.controller = &service.Controller{ControllerID: e.id}
			}
			edits[e.id] = e
		}

		earlier, earlierIDs := f, listIDs(f)
		sorted := slices.SortedFunc(maps.Values(edits), func(a, b edit) int { return strings.Compare(a.id, b.id) })
		f = f.withEdits(sorted, uint64(step))

		for id, e := range edits {
			if want[id] = e.controller; e.controller == nil {
				delete(want, id)
			}
			if got := f.find(id); got != e.controller {
				t.Fatalf("find(%s) = %v, want %v", id, got, e.controller)
			}
		}

		if got := listIDs(f); !slices.Equal(got, slices.Sorted(maps.Keys(want))) || f.size != len(want) {
			t.Fatalf("after step %d the fleet has %d controllers (%d counted), want %d in order", step, len(got), f.size, len(want))
		}
		if !slices.Equal(listIDs(earlier), earlierIDs) {
			t.Fatalf("step %d changed the fleet before it", step)
		}
		for _, c := range f.chunks {
			isValidSize := len(c.controllers) > 0 && len(c.controllers) <= partSize && len(c.loadVersions) == len(c.controllers)
			if !isValidSize || c.newestLoadVersion != slices.Max(c.loadVersions) {
				t.Fatalf("a chunk has %d controllers and %d load versions", len(c.controllers), len(c.loadVersions))
			}
		}
	}

	var got []string
	f.visitBetween("mc-0500", "mc-1000", func(c *service.Controller) { got = append(got, c.ControllerID) })
	between := slices.DeleteFunc(slices.Sorted(maps.Keys(want)), func(id string) bool { return id <= "mc-0500" || id > "mc-1000" })
	if !slices.Equal(got, between) {
		t.Errorf("visitBetween() = %d controllers, want %d", len(got), len(between))
	}
}

func listIDs(f fleet) (ids []string) {
	for _, c := range f.chunks {
		for _, one := range c.controllers {
			ids = append(ids, one.ControllerID)
		}
	}
	return ids
}
