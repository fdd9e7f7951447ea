package clock

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-kit/log"
)

const memory = 15 * time.Second

// stepped is a wall clock that a test can set.
type stepped struct{ by time.Duration }

func (s *stepped) now() time.Time { return time.Now().Round(0).Add(s.by) }

func TestGuard_Step(t *testing.T) {
	for name, step := range map[string]time.Duration{
		"ahead":       2 * time.Hour,
		"behind":      -10 * time.Minute,
		"just beyond": Limit + 2*time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var (
					wall    stepped
					logged  bytes.Buffer
					rereads int
				)
				g := New(wall.now, memory, log.NewLogfmtLogger(&logged))
				g.OnContradiction(func() { rereads++ })
				g.Read(AuthController, time.Now(), time.Second)
				time.Sleep(time.Minute)
				if got := g.Problem(); got != "" {
					t.Fatalf("Problem() before the step = %q, want none", got)
				}

				wall.by = step
				v := g.Judge()
				isClose := (v.Offset-step).Abs() <= time.Second && time.Until(v.Corrected).Abs() <= time.Second
				if !v.Wrong || v.Reference != AuthController || !isClose {
					t.Errorf("Judge() at once after the step = %+v, want wrong by %v", v, step)
				}
				for range 3 {
					if got := g.Problem(); !strings.HasSuffix(got, "the auth controller's clock") {
						t.Errorf("Problem() = %q, want it to name the reference", got)
					}
				}
				if got := logged.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "ahead="+step.String()) || rereads != 1 {
					t.Errorf("log = %q with %d new readings, want one line with the difference and one reading", got, rereads)
				}

				wall.by = 0
				if got := g.Problem(); got != "" || strings.Count(logged.String(), "\n") != 2 {
					t.Errorf("Problem() after the clock was set right = %q, log %q, want none and one line more", got, logged.String())
				}
			})
		})
	}
}

func TestGuard_WithinTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wall := stepped{by: Limit + 500*time.Millisecond}
		g := New(wall.now, memory, log.NewNopLogger())
		if v := g.Judge(); v.Wrong || v.Doubtful {
			t.Errorf("Judge() without a reading = %+v, want nothing said", v)
		}
		g.Read(AuthController, time.Now(), time.Second)
		if v := g.Judge(); v.Wrong || v.Doubtful || g.Offsets()[AuthController] != wall.by {
			t.Errorf("Judge() within the reading's uncertainty = %+v, want it right", v)
		}
		wall.by = time.Hour
		time.Sleep(maxAge + time.Second)
		if v := g.Judge(); v.Wrong || len(g.Offsets()) != 0 {
			t.Errorf("Judge() with an old reading = %+v, want nothing said", v)
		}
	})
}

func TestGuard_ReferencesDisagree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var (
			wall   stepped
			logged bytes.Buffer
		)
		g := New(wall.now, memory, log.NewLogfmtLogger(&logged))
		g.Read(AuthController, time.Now(), time.Second)
		g.Read(Store, time.Now().Add(time.Hour), time.Millisecond)
		if v := g.Judge(); v.Wrong || v.Doubtful || !v.StoreWrong || g.Problem() != "" {
			t.Errorf("Judge() = %+v, want the store's clock to be the wrong one and the service to go on", v)
		}
		if got := logged.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "clock of the store is wrong") {
			t.Errorf("log = %q, want one line about the store", got)
		}
		if g.Suspect(true, nil) {
			t.Error("Suspect() = true, want tokens judged by this clock, which the auth controller's confirms")
		}

		// The store confirms this clock, the auth controller's contradicts it.
		g.Read(Store, time.Now(), time.Millisecond)
		g.Read(AuthController, time.Now().Add(-time.Hour), time.Second)
		if v := g.Judge(); v.Wrong || !v.Doubtful || v.StoreWrong {
			t.Errorf("Judge() = %+v, want doubt only", v)
		}
		if g.Problem() != "" {
			t.Error("Problem() is not empty although every token could be judged")
		}
		if g.Suspect(false, func(time.Time) bool { return true }) {
			t.Error("Suspect(a token that is valid by this clock) = true, want it accepted: the store confirms this clock")
		}
		if !g.Suspect(true, nil) || g.Problem() != "1h0m0s ahead of the auth controller's clock" {
			t.Errorf("Suspect(a token refused for its time) = false or Problem() = %q, want it unjudged and shown", g.Problem())
		}
		time.Sleep(memory + time.Second)
		if g.Problem() != "" {
			t.Errorf("Problem() long after the last such token = %q, want none", g.Problem())
		}
	})
}
