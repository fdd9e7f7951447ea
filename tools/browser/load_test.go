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
	maxLoadTime     = 2 * time.Second
	// maxFrameTime is shorter than a frame that people see as a freeze. On a busy machine a frame is late for many reasons.
	maxFrameTime  = 250 * time.Millisecond
	maxMedianTime = 34 * time.Millisecond // two frames of the screen
)

// measurePainting is a script that enters the token as soon as its dialog is open, and records when all tiles were painted. That is
// two frames after they exist: the first one paints them.
const measurePainting = `
addEventListener("DOMContentLoaded", () => {
  const enterToken = () => {
    const input = document.querySelector("#token");
    if (!input) return setTimeout(enterToken, 1);
    input.value = "` + goodToken + `";
    input.form.requestSubmit();
    const count = () => {
      if (document.getElementsByClassName("tile").length < 5000) return requestAnimationFrame(count);
      requestAnimationFrame(() => requestAnimationFrame(() => { window.paintedAt = performance.now(); }));
    };
    requestAnimationFrame(count);
  };
  enterToken();
});
window.longTasks = [];
const recordLongTasks = (list) => longTasks.push(...list.getEntries().map((e) => e.duration));
new PerformanceObserver(recordLongTasks).observe({ type: "longtask", buffered: true });
window.measureFrames = () => {
  window.frameTimes = [];
  let before = performance.now();
  const measureFrame = () => {
    const now = performance.now();
    frameTimes.push(now - before);
    before = now;
    window.frameLoop = requestAnimationFrame(measureFrame);
  };
  window.frameLoop = requestAnimationFrame(measureFrame);
};`

func newLargeFleet() []controller {
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

	fleet[0].Health = "healthy" // Its change is the last one of a burst.
	return fleet
}

// TestTiles_FiveThousandControllersDoNotFreezePage checks that a large fleet is painted within 2 s. It also checks that 500
// transitions and 500 loads a second do not freeze the page.
func TestTiles_FiveThousandControllersDoNotFreezePage(t *testing.T) {
	for _, tc := range []struct {
		name, address string
		seconds       int
		maxFrameTime  time.Duration
	}{
		{"small tiles", "", loadSeconds, maxFrameTime},
		{"large tiles", "#size=large", loadSeconds / 2, maxFrameTime},
		// After new loads nearly all tiles have other places. To move them takes a long frame every few seconds.
		{"sorted by load", "#sort=load", loadSeconds / 2, time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFakeServer(t, newLargeFleet()...)
			b := newTab(t, measurePainting)
			b.navigate(f.URL + "/" + tc.address)
			b.waitFor("all tiles painted", "window.paintedAt > 0")

			painted := time.Duration(eval[float64](b, "paintedAt") * float64(time.Millisecond))
			if got := eval[int](b, `document.querySelectorAll(".tile").length`); got != manyControllers {
				t.Fatalf("got %d tiles, want %d", got, manyControllers)
			}
			t.Logf("5,000 tiles were painted %v after navigation began", painted.Round(time.Millisecond))
			if painted > maxLoadTime {
				t.Errorf("all tiles were painted after %v, want at most %v", painted, maxLoadTime)
			}

			measured := b.measureFrames(f, tc.seconds)
			if measured.longest() > tc.maxFrameTime {
				t.Log("measure again: other programs may have used the processor")
				measured = b.measureFrames(f, tc.seconds)
			}
			if measured.longest() > tc.maxFrameTime {
				t.Errorf("the longest frame took %v, want at most %v", measured.longest(), tc.maxFrameTime)
			}
			if measured.median() > maxMedianTime {
				t.Errorf("the median frame took %v, want at most %v", measured.median(), maxMedianTime)
			}
			if tc.address == "" {
				b.screenshot("5000-tiles")
			}
		})
	}
}

// frameStats are statistics of the page's frames and long tasks during a burst. Times are in milliseconds.
type frameStats struct {
	Frames        int     `json:"frames"`
	MedianFrame   float64 `json:"medianFrame"`
	P99Frame      float64 `json:"p99Frame"`
	LongestFrame  float64 `json:"longestFrame"`
	LongTasks     int     `json:"longTasks"`
	LongTasksTime float64 `json:"longTasksTime"`
	LongestTask   float64 `json:"longestTask"`
}

func (s frameStats) median() time.Duration  { return toDuration(s.MedianFrame) }
func (s frameStats) longest() time.Duration { return toDuration(s.LongestFrame) }

func toDuration(ms float64) time.Duration {
	return time.Duration(ms * float64(time.Millisecond)).Round(100 * time.Microsecond)
}

// measureFrames sends a burst and returns the statistics of the page's frames meanwhile.
func (b *tab) measureFrames(f *fakeServer, seconds int) frameStats {
	b.t.Helper()
	f.sendChange(newController("mc-00000", "region-00", "healthy"), "pending", epoch)
	b.waitFor("the first change", `document.querySelector('[data-id="mc-00000"]').dataset.state === "healthy"`)
	began := eval[float64](b, `(longTasks.length = 0, measureFrames(), performance.now())`)
	sent := f.sendBurst(seconds)
	b.waitFor("the last change", `document.querySelector('[data-id="mc-00000"]').dataset.state === "pending"`)
	took := eval[float64](b, fmt.Sprintf("(cancelAnimationFrame(frameLoop), performance.now() - %f)", began)) / 1000
	s := eval[frameStats](b, `(() => {
		const sorted = frameTimes.toSorted((a, b) => a - b);
		const quantile = (q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
		return {
			frames: sorted.length,
			medianFrame: quantile(.5),
			p99Frame: quantile(.99),
			longestFrame: quantile(1),
			longTasks: longTasks.length,
			longTasksTime: longTasks.reduce((a, b) => a + b, 0),
			longestTask: Math.max(0, ...longTasks),
		};
	})()`)

	b.t.Logf("%d changes in %.1f s: %d frames, median %.1f ms, p99 %.1f ms, longest %.1f ms; %d long tasks of %.0f ms in all, longest %.0f ms",
		sent, took, s.Frames, s.MedianFrame, s.P99Frame, s.LongestFrame, s.LongTasks, s.LongTasksTime, s.LongestTask)
	return s
}

// sendBurst sends 500 transitions and 500 loads a second, and at the end a change of mc-00000 to pending.
func (f *fakeServer) sendBurst(seconds int) (sent int) {
	f.t.Helper()
	random := rand.New(rand.NewPCG(3, 4))
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()

	at := epoch
	for tick := range seconds * 10 {
		<-ticker.C
		at = at.Add(100 * time.Millisecond)

		var changes []any
		for range 50 {
			i := 1 + random.IntN(manyControllers-1)
			from := f.fleet[i].Health
			c := newController(f.fleet[i].ID, f.fleet[i].Region, allStates[random.IntN(5)])
			f.fleet[i] = c
			f.id++
			changes = append(changes, object{"controller_id": c.ID, "controller": c, "transition": newTransition(f.id, c, from, at)})
		}
		var text strings.Builder
		fmt.Fprintf(&text, "id: %d\n%s", f.id, encodeEvent("changes", object{"as_of": at, "changes": changes}))
		sent += len(changes)

		if tick%10 == 9 {
			var loads []any
			for range 500 {
				meetings := random.IntN(100)
				loads = append(loads, object{
					"controller_id":        f.fleet[random.IntN(manyControllers)].ID,
					"current_meetings":     meetings,
					"current_participants": meetings * 20,
					"cpu_usage_percent":    20,
					"memory_usage_percent": 40,
					"last_heartbeat_at":    at,
					"drained":              false,
				})
			}
			text.WriteString(encodeEvent("loads", object{"as_of": at, "loads": loads}))
			sent += len(loads)
		}
		f.send(text.String())
	}
	f.sendChange(newController("mc-00000", "region-00", "pending"), f.fleet[0].Health, at)
	return sent + 1
}
