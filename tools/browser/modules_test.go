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

// TestEventReader_PiecesOfAnyLength gives the reader the same stream in thousands of different pieces.
func TestEventReader_PiecesOfAnyLength(t *testing.T) {
	f := newFakeServer(t)
	b := newTab(t)
	b.navigate(f.URL)
	got := eval[string](b, `(async () => {
		const { EventReader } = await import("/assets/sse.js");
		const stream = [
			"\uFEFF: a comment\r\nid: 1\r\nevent: changes\r\ndata: {\"a\":1}\r\n\r\n",
			"retry: 5\ndata\n\n",
			"data: one\rdata:two\rdata:  three\r\r",
			"id: 2\ndata: ä€😀\n\n",
			"id: no\0pe\ndata: x\nevent: last\n\n",
			"event: never\n\n",
			"id: 3\ndata: cut off\n",
		].join("");
		const want = JSON.stringify([
			["changes", "{\"a\":1}", "1"],
			["message", "", "1"],
			["message", "one\ntwo\n three", "1"],
			["message", "ä€😀", "2"],
			["last", "x", "2"],
		]);
		const read = (pieces) => {
			const events = [];
			const reader = new EventReader((e) => events.push([e.type, e.data, e.id]));
			pieces.forEach((piece) => reader.push(piece));
			return JSON.stringify(events);
		};

		if (read([stream]) !== want) return "one piece: " + read([stream]);
		if (read([...stream]) !== want) return "a piece for each letter: " + read([...stream]);

		let seed = 1;
		const random = (n) => {
			seed = (seed * 1103515245 + 12345) % 2147483648;
			return seed % n;
		};
		const bytes = new TextEncoder().encode(stream);
		for (let round = 0; round < 5000; round++) {
			// The pieces are cut from bytes, so that a piece may end within a letter.
			const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
			const pieces = [];
			for (let at = 0; at < bytes.length;) {
				const n = random(9);
				pieces.push(decoder.decode(bytes.slice(at, at + n), { stream: true }));
				at += n;
			}
			if (read(pieces) !== want) return "round " + round + ": " + read(pieces) + " from " + JSON.stringify(pieces);
		}
		return "";
	})()`)
	if got != "" {
		t.Errorf("%s", got)
	}
}

// randomController returns a controller as the page's sums need it, and adds it to the service's sums.
func randomController(random *rand.Rand, sums *service.Region) object {
	facts := service.Facts{
		OperatorDraining: random.IntN(6) == 0,
		Reported:         service.HealthStatuses()[random.IntN(5)],
		Stale:            random.IntN(5) == 0,
	}
	meetings, participants := random.Int64N(40), random.Int64N(900)

	sums.Controllers[facts.Health()]++
	for _, part := range []struct {
		capacity     *service.RegionCapacity
		max, current int64
	}{{&sums.Meetings, 100, meetings}, {&sums.Participants, 2000, participants}} {
		if facts.Health().IsServing() {
			part.capacity.ServingLimit += part.max
			part.capacity.LargestServing = part.max
		}
		if !facts.Stale {
			part.capacity.RunningLoad += part.current
		}
	}

	return object{
		"region":               "eu",
		"state":                facts.Health(),
		"stale":                facts.Stale,
		"max_meetings":         100,
		"current_meetings":     meetings,
		"max_participants":     2000,
		"current_participants": participants,
	}
}

// TestSumRegions_RandomFleetsMatchService compares the page's sums with those of the service over random fleets.
func TestSumRegions_RandomFleetsMatchService(t *testing.T) {
	f := newFakeServer(t)
	b := newTab(t)
	b.navigate(f.URL)
	random := rand.New(rand.NewPCG(5, 6))
	survived := 0
	for round := range 200 {
		var fleet []object
		want := service.Region{Controllers: make(map[service.HealthStatus]int64)}
		for range random.IntN(6) + 1 {
			fleet = append(fleet, randomController(random, &want))
		}
		text, err := json.Marshal(fleet)
		if err != nil {
			t.Fatal(err)
		}

		got := eval[string](b, fmt.Sprintf(`import("/assets/capacity.js").then(({ sumRegions }) => {
			const [{ serving, meetings, participants, survivesLargestLoss }] = sumRegions(%s);
			return [
				serving,
				meetings.max,
				meetings.current,
				meetings.freeWithoutLargest,
				participants.freeWithoutLargest,
				survivesLargestLoss,
			].join(" ");
		})`, text))
		expected := fmt.Sprint(
			want.ServingCount(),
			want.Meetings.ServingLimit,
			want.Meetings.RunningLoad,
			want.Meetings.HeadroomWithoutLargest(),
			want.Participants.HeadroomWithoutLargest(),
			want.SurvivesLargestLoss(),
		)
		if got != expected {
			t.Fatalf("round %d: the page's sums are %s, want the service's %s, for %s", round, got, expected, text)
		}
		if want.SurvivesLargestLoss() {
			survived++
		}
	}
	if survived == 0 || survived == 200 {
		t.Errorf("%d of 200 random regions survive, want some and not all", survived)
	}
}

func TestDescribeCause_TextPerCause(t *testing.T) {
	f := newFakeServer(t)
	b := newTab(t)
	b.navigate(f.URL)

	for _, test := range []struct{ cause, reason, want string }{
		{"heartbeat", "", "reported by gc-1"},
		{"stale", "no heartbeat for 32s", "no heartbeat for 32 s; marked stale by gc-1"},
		{"retired", service.RetiredReason + "24h0m0s", "no heartbeat for 32 s; retired by gc-1"},
		{"retired", "deregistered itself", "deregistered itself as gc-1"},
		{"retired", "scrapped", "deregistered itself as gc-1"},
	} {
		transition, err := json.Marshal(object{"cause": test.cause, "reason": test.reason, "actor": "gc-1", "silence_ms": 32_000})
		if err != nil {
			t.Fatal(err)
		}
		expression := fmt.Sprintf(`import("/assets/timeline.js").then(({ describeCause }) => describeCause(%s))`, transition)
		if got := eval[string](b, expression); got != test.want {
			t.Errorf("describeCause(%s) = %q, want %q", transition, got, test.want)
		}
	}
}
