package refusals

import (
	"fmt"
	"testing"
	"time"
)

func TestLog_CountsAndDescriptions(t *testing.T) {
	m, err := New()
	if err != nil {
		t.Fatalf("New() = %v", err)
	}
	var now time.Duration
	m.now = func() time.Duration { return now }

	if got := m.Describe("mc", time.Hour); got != "" {
		t.Errorf("Describe() before any refusal = %q, want nothing", got)
	}

	m.Add("mc", "expired")
	now = time.Minute
	for range 3 {
		m.Add("mc", "dropped")
	}
	m.Add("mc-2", "dropped")

	if got, want := m.Describe("mc", 35*time.Second), "3 calls in its name were refused meanwhile: dropped"; got != want {
		t.Errorf("Describe() = %q, want %q", got, want)
	}
	if got, want := m.Describe("mc-2", 35*time.Second), "1 call in its name was refused meanwhile: dropped"; got != want {
		t.Errorf("Describe() = %q, want %q", got, want)
	}
	if got := m.CountControllers("dropped", time.Minute); got != 2 {
		t.Errorf("CountControllers(dropped) = %d, want 2", got)
	}

	now = 3 * time.Minute
	if count, _ := m.CountWithin("mc", time.Minute); count != 0 || m.CountControllers("dropped", time.Minute) != 0 {
		t.Errorf("CountWithin() long after the last refusal = %d, want 0", count)
	}

	for range 100 {
		m.Add("mc", "dropped")
	}
	if got, want := m.Describe("mc", time.Minute), "16 calls or more in its name were refused meanwhile: dropped"; got != want {
		t.Errorf("Describe() = %q, want %q", got, want)
	}

	for i := range 2 * maxControllers {
		m.Add(fmt.Sprint("mc-", i), "dropped")
	}
	if got := m.CountControllers("dropped", time.Minute); got != maxControllers {
		t.Errorf("CountControllers() = %d, want the limit of %d", got, maxControllers)
	}
}
