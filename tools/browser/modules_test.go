package browser

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"

	"darktower.example/global-controller/service"
)

func decode[T any](r *http.Request) T {
	var v T
	_ = json.NewDecoder(r.Body).Decode(&v)
	return v
}

// TestEventsAreReadInAnyPieces feeds the reader one stream in thousands of different pieces.
func TestEventsAreReadInAnyPieces(t *testing.T) {
	f := newFakeGC(t)
	b := newTab(t)
	b.navigate(f.URL)
	got := eval[string](b, `(async () => {
		const { EventReader } = await import("/assets/sse.js");
		const stream = "\uFEFF: a comment\r\nid: 1\r\nevent: changes\r\ndata: {\"a\":1}\r\n\r\nretry: 5\ndata\n\ndata: one\rdata:two\rdata:  three\r\rid: 2\ndata: ä€😀\n\nid: no\0pe\ndata: x\nevent: last\n\nevent: never\n\nid: 3\ndata: cut off\n";
		const wanted = [["changes", "{\"a\":1}", "1"], ["message", "", "1"], ["message", "one\ntwo\n three", "1"], ["message", "ä€😀", "2"], ["last", "x", "2"]];
		const read = (pieces) => { const events = []; const reader = new EventReader((e) => events.push([e.type, e.data, e.id])); pieces.forEach((p) => reader.push(p)); return JSON.stringify(events); };
		const want = JSON.stringify(wanted);
		if (read([stream]) !== want) return "whole: " + read([stream]);
		if (read([...stream]) !== want) return "one by one: " + read([...stream]);
		let seed = 1;
		const random = (n) => { seed = (seed * 1103515245 + 12345) % 2147483648; return seed % n; };
		const bytes = new TextEncoder().encode(stream);
		for (let round = 0; round < 5000; round++) {
			// In bytes, as they come: a piece may end within a letter.
			const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
			const pieces = [];
			for (let at = 0; at < bytes.length;) { const n = random(9); pieces.push(decoder.decode(bytes.slice(at, at + n), { stream: true })); at += n; }
			if (read(pieces) !== want) return "round " + round + ": " + read(pieces) + " from " + JSON.stringify(pieces);
		}
		return "";
	})()`)
	if got != "" {
		t.Errorf("%s", got)
	}
}

// TestRegionsAddUpAsTheServiceDoes compares the page's sums with those of the service over invented fleets.
func TestRegionsAddUpAsTheServiceDoes(t *testing.T) {
	f := newFakeGC(t)
	b := newTab(t)
	b.navigate(f.URL)
	random := rand.New(rand.NewPCG(5, 6))
	survived := 0
	for round := range 200 {
		var fleet []object
		var want service.Region
		want.Controllers = make(map[service.HealthStatus]int64)
		for range random.IntN(6) + 1 {
			facts := service.Facts{OperatorDraining: random.IntN(6) == 0, Reported: service.HealthStatuses()[random.IntN(5)], Stale: random.IntN(5) == 0}
			meetings, participants := random.Int64N(40), random.Int64N(900)
			fleet = append(fleet, object{"region": "eu", "state": facts.Health(), "stale": facts.Stale, "max_meetings": 100, "current_meetings": meetings, "max_participants": 2000, "current_participants": participants})
			want.Controllers[facts.Health()]++
			for _, of := range []struct {
				capacity     *service.RegionCapacity
				max, current int64
			}{{&want.Meetings, 100, meetings}, {&want.Participants, 2000, participants}} {
				if facts.Health().IsServing() {
					of.capacity.Max, of.capacity.Largest = of.capacity.Max+of.max, of.max
				}
				if !facts.Stale {
					of.capacity.Current += of.current
				}
			}
		}
		text, err := json.Marshal(fleet)
		if err != nil {
			t.Fatal(err)
		}
		got := eval[string](b, fmt.Sprintf(`import("/assets/facts.js").then(({ regionsOf }) => { const [r] = regionsOf(%s); return [r.serving, r.meetings.max, r.meetings.current, r.meetings.freeWithoutLargest, r.participants.freeWithoutLargest, r.survivesLargestLoss].join(" "); })`, text))
		expected := fmt.Sprint(want.Serving(), want.Meetings.Max, want.Meetings.Current, want.Meetings.FreeWithoutLargest(), want.Participants.FreeWithoutLargest(), want.SurvivesLargestLoss())
		if got != expected {
			t.Fatalf("round %d: the page adds up to %s, want %s as the service does, for %s", round, got, expected, text)
		}
		if want.SurvivesLargestLoss() {
			survived++
		}
	}
	if survived == 0 || survived == 200 {
		t.Errorf("%d of 200 invented regions survive, want some and not all", survived)
	}
}
