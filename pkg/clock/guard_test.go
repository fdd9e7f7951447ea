package clock

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-kit/log"
)

const unverifiedLifetime = 15 * time.Second

// fakeClock is a wall clock that a test can set ahead.
type fakeClock struct{ ahead time.Duration }

func (c *fakeClock) now() time.Time { return time.Now().Round(0).Add(c.ahead) }

func TestGuard_Step(t *testing.T) {
	for name, step := range map[string]time.Duration{
		"ahead":       2 * time.Hour,
		"behind":      -10 * time.Minute,
		"just beyond": Limit + 2*time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var (
					wall    fakeClock
					logged  bytes.Buffer
					rereads int
				)
				g := New(wall.now, unverifiedLifetime, log.NewLogfmtLogger(&logged))
				g.OnContradiction(func() { rereads++ })
				g.AddReading(AuthController, time.Now(), time.Second)

				time.Sleep(time.Minute)
				if got := g.Problem(); got != "" {
					t.Fatalf("Problem() before the step = %q, want none", got)
				}

				wall.ahead = step
				v := g.Evaluate()
				isClose := (v.Offset-step).Abs() <= time.Second && time.Until(v.Corrected).Abs() <= time.Second
				if !v.IsWrong || v.Reference != AuthController || !isClose {
					t.Errorf("Evaluate() at once after the step = %+v, want wrong by %v", v, step)
				}
				for range 3 {
					if got := g.Problem(); !strings.HasSuffix(got, "the auth controller's clock") {
						t.Errorf("Problem() = %q, want it to name the reference", got)
					}
				}

				got := logged.String()
				if strings.Count(got, "\n") != 1 || !strings.Contains(got, "ahead="+step.String()) || rereads != 1 {
					t.Errorf("log = %q with %d new readings, want one line with the difference and one reading", got, rereads)
				}

				wall.ahead = 0
				if got := g.Problem(); got != "" || strings.Count(logged.String(), "\n") != 2 {
					t.Errorf("Problem() after the clock was corrected = %q, log %q, want none and one line more", got, logged.String())
				}
			})
		})
	}
}

func TestGuard_WithinTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wall := fakeClock{ahead: Limit + 500*time.Millisecond}
		g := New(wall.now, unverifiedLifetime, log.NewNopLogger())
		if v := g.Evaluate(); v.IsWrong || v.ContradictsAuthController {
			t.Errorf("Evaluate() without a reading = %+v, want no contradiction", v)
		}

		g.AddReading(AuthController, time.Now(), time.Second)
		if v := g.Evaluate(); v.IsWrong || v.ContradictsAuthController || g.Offsets()[AuthController] != wall.ahead {
			t.Errorf("Evaluate() within the reading's uncertainty = %+v, want no contradiction", v)
		}

		wall.ahead = time.Hour
		time.Sleep(maxAge + time.Second)
		if v := g.Evaluate(); v.IsWrong || len(g.Offsets()) != 0 {
			t.Errorf("Evaluate() with an old reading = %+v, want it not wrong", v)
		}
	})
}

func TestGuard_ReferencesDisagree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var (
			wall   fakeClock
			logged bytes.Buffer
		)
		g := New(wall.now, unverifiedLifetime, log.NewLogfmtLogger(&logged))
		g.AddReading(AuthController, time.Now(), time.Second)
		g.AddReading(Store, time.Now().Add(time.Hour), time.Millisecond)

		if v := g.Evaluate(); v.IsWrong || v.ContradictsAuthController || !v.IsStoreWrong || g.Problem() != "" {
			t.Errorf("Evaluate() = %+v, want only the store's clock wrong and no problem", v)
		}
		if got := logged.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "clock of the store is wrong") {
			t.Errorf("log = %q, want one line about the store", got)
		}
		if g.CheckToken(true, nil) {
			t.Error("CheckToken() = true, want false: the auth controller's clock confirms this clock")
		}

		// The store's clock confirms this clock, and the auth controller's contradicts it.
		g.AddReading(Store, time.Now(), time.Millisecond)
		g.AddReading(AuthController, time.Now().Add(-time.Hour), time.Second)
		if v := g.Evaluate(); v.IsWrong || !v.ContradictsAuthController || v.IsStoreWrong {
			t.Errorf("Evaluate() = %+v, want only a contradiction with the auth controller", v)
		}

		if g.Problem() != "" {
			t.Error("Problem() is not empty although every token could be verified")
		}
		if g.CheckToken(false, func(time.Time) bool { return true }) {
			t.Error("CheckToken(a token valid by this clock) = true, want false: the store's clock confirms this clock")
		}
		if !g.CheckToken(true, nil) || g.Problem() != "1h0m0s ahead of the auth controller's clock" {
			t.Errorf("CheckToken(a token refused for its time) = false or Problem() = %q, want true and the offset", g.Problem())
		}

		time.Sleep(unverifiedLifetime + time.Second)
		if g.Problem() != "" {
			t.Errorf("Problem() long after the last such token = %q, want none", g.Problem())
		}
	})
}
