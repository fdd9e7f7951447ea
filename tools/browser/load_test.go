package browser

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

const (
	manyControllers = 5000
	loadSeconds     = 10
	// The bounds of the promise. A frame is late for many reasons on a busy machine; one that a person takes for a freeze is
	// longer than this.
	longestLoad  = 2 * time.Second
	longestFrame = 250 * time.Millisecond
)

// clocking enters the token as soon as it is asked for, and notes when all tiles were painted: two frames after they are
// there, the first of which paints them.
const clocking = `
addEventListener("DOMContentLoaded", () => {
  const look = () => {
    const input = document.querySelector("#token");
    if (!input) return setTimeout(look, 1);
    input.value = "` + goodToken + `";
    input.form.requestSubmit();
    const count = () => {
      if (document.getElementsByClassName("tile").length < 5000) return requestAnimationFrame(count);
      requestAnimationFrame(() => requestAnimationFrame(() => { window.paintedAt = performance.now(); }));
    };
    requestAnimationFrame(count);
  };
  look();
});
window.longTasks = [];
new PerformanceObserver((list) => longTasks.push(...list.getEntries().map((e) => e.duration))).observe({ type: "longtask", buffered: true });
window.measureFrames = () => {
  window.frames_ = [];
  let before = performance.now();
  const tick = () => { const now = performance.now(); frames_.push(now - before); before = now; window.frameLoop = requestAnimationFrame(tick); };
  window.frameLoop = requestAnimationFrame(tick);
};`

func manyFleet() []controller {
	random := rand.New(rand.NewPCG(1, 2))
	fleet := make([]controller, manyControllers)
	for i := range fleet {
		health := "healthy"
		switch n := random.IntN(100); {
		case n < 2:
			health = "unhealthy"
		case n < 5:
			health = "draining"
		case n < 9:
			health = "degraded"
		case n < 10:
			health = "pending"
		}
		fleet[i] = newController(fmt.Sprintf("mc-%05d", i), fmt.Sprintf("region-%02d", i%10), health)
		fleet[i].CurrentMeetings = random.IntN(95)
		fleet[i].CurrentParticipants = fleet[i].CurrentMeetings * 20
	}
	fleet[0].Health = "healthy" // Its change is the last one.
	return fleet
}

// TestFiveThousandTiles holds what the page promises of a large fleet: it is there within 2 s, and 500 changes of state a
// second, with as many reports of load beside, freeze nothing.
func TestFiveThousandTiles(t *testing.T) {
	for _, tc := range []struct {
		name, address string
		seconds       int
		longest       time.Duration
	}{
		{"small tiles", "", loadSeconds, longestFrame},
		{"large tiles", "#size=large", loadSeconds / 2, longestFrame},
		// Nearly all tiles have another place after each report of load. That takes a moment every few seconds.
		{"sorted by load", "#sort=load", loadSeconds / 2, time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFakeGC(t, manyFleet()...)
			b := newTab(t, clocking)
			b.navigate(f.URL + "/" + tc.address)
			b.until("all tiles painted", "window.paintedAt > 0")
			painted := time.Duration(eval[float64](b, "paintedAt") * float64(time.Millisecond))
			if got := eval[int](b, `document.querySelectorAll(".tile").length`); got != manyControllers {
				t.Fatalf("got %d tiles, want %d", got, manyControllers)
			}
			t.Logf("5,000 tiles were painted %v after navigation began", painted.Round(time.Millisecond))
			if painted > longestLoad {
				t.Errorf("all tiles were painted after %v, want at most %v", painted, longestLoad)
			}
			measured := b.measure(f, tc.seconds)
			if measured.Longest > tc.longest.Seconds()*1000 {
				t.Log("once more: what else runs on this machine may have had the processor")
				measured = b.measure(f, tc.seconds)
			}
			if measured.Longest > tc.longest.Seconds()*1000 {
				t.Errorf("the longest frame took %.0f ms, want at most %v", measured.Longest, tc.longest)
			}
			if measured.Median > 34 {
				t.Errorf("the median frame took %.1f ms, want at most 34: two of the screen's", measured.Median)
			}
			if tc.address == "" {
				b.shoot("5000-tiles")
			}
		})
	}
}

// frames are what a storm did to the page; times in milliseconds.
type frames struct {
	Frames  int     `json:"frames"`
	Median  float64 `json:"median"`
	P99     float64 `json:"p99"`
	Longest float64 `json:"longest"`
	Tasks   int     `json:"tasks"`
	Total   float64 `json:"total"`
	Task    float64 `json:"task"`
}

func (b *tab) measure(f *fakeGC, seconds int) frames {
	b.t.Helper()
	f.change(newController("mc-00000", "region-00", "healthy"), "pending", epoch)
	b.until("the storm's beginning", `document.querySelector('[data-id="mc-00000"]').dataset.state === "healthy"`)
	began := eval[float64](b, `(longTasks.length = 0, measureFrames(), performance.now())`)
	sent := f.storm(seconds)
	b.until("the last change", `document.querySelector('[data-id="mc-00000"]').dataset.state === "pending"`)
	took := eval[float64](b, fmt.Sprintf("(cancelAnimationFrame(frameLoop), performance.now() - %f)", began)) / 1000
	m := eval[frames](b, `(() => {
		const sorted = frames_.toSorted((a, b) => a - b);
		const at = (q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
		return { frames: sorted.length, median: at(.5), p99: at(.99), longest: at(1), tasks: longTasks.length, total: longTasks.reduce((a, b) => a + b, 0), task: Math.max(0, ...longTasks) };
	})()`)
	b.t.Logf("%d changes in %.1f s: %d frames, median %.1f ms, p99 %.1f ms, longest %.1f ms; %d long tasks, %.0f ms in all, longest %.0f ms",
		sent, took, m.Frames, m.Median, m.P99, m.Longest, m.Tasks, m.Total, m.Task)
	return m
}

// storm sends 500 changes of state and 500 reports of load a second, and last that mc-00000 is pending.
func (f *fakeGC) storm(seconds int) (sent int) {
	f.t.Helper()
	random := rand.New(rand.NewPCG(3, 4))
	states := []string{"pending", "healthy", "degraded", "unhealthy", "draining"}
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	at := epoch
	for tick := range seconds * 10 {
		<-ticker.C
		at = at.Add(100 * time.Millisecond)
		var changes []any
		for range 50 {
			i := 1 + random.IntN(manyControllers-1)
			c, from := newController(f.fleet[i].ID, f.fleet[i].Region, states[random.IntN(5)]), f.fleet[i].Health
			f.fleet[i] = c
			f.id++
			changes = append(changes, object{"controller_id": c.ID, "controller": c, "transition": transition(f.id, c, from, at)})
		}
		var text strings.Builder
		fmt.Fprintf(&text, "id: %d\n%s", f.id, event("changes", object{"as_of": at, "changes": changes}))
		sent += len(changes)
		if tick%10 == 9 {
			var loads []any
			for range 500 {
				meetings := random.IntN(100)
				loads = append(loads, object{
					"controller_id": f.fleet[random.IntN(manyControllers)].ID, "current_meetings": meetings, "current_participants": meetings * 20,
					"cpu_usage_percent": 20, "memory_usage_percent": 40, "last_heartbeat_at": at, "drained": false,
				})
			}
			text.WriteString(event("loads", object{"as_of": at, "loads": loads}))
			sent += len(loads)
		}
		f.send(text.String())
	}
	f.change(newController("mc-00000", "region-00", "pending"), f.fleet[0].Health, at)
	return sent + 1
}
