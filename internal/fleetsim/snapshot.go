package fleetsim

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
)

// shownSpan is over what time rates and latencies are shown.
const shownSpan = 3 * time.Second

// freshFor is how old the states may be without that it is said: they are read much more often.
const freshFor = 2 * time.Second

// shownStates are the columns of the view.
var shownStates = []string{"pending", "healthy", "degraded", "unhealthy", "draining"}

// snapshot is what a view shows of a world.
type snapshot struct {
	scenario, where, phase string
	elapsed, inPhase       time.Duration
	mcs, running           int
	regions                []string
	states                 map[string]map[string]int // by region and state
	age                    time.Duration             // of the states, which cannot be read while the service is away
	counts                 Counts                    // of the last seconds
}

func (w *World) snapshot() snapshot {
	now := time.Now()
	w.mu.Lock()
	s := snapshot{scenario: w.scenario, where: w.where(), phase: w.phase, inPhase: now.Sub(w.phaseAt), elapsed: now.Sub(w.began)}
	w.mu.Unlock()
	s.mcs, s.regions, s.states = w.opts.MCs, w.opts.regionNames(), make(map[string]map[string]int)
	for _, region := range s.regions {
		s.states[region] = make(map[string]int)
	}
	s.running, s.age = w.count(s.states), now.Sub(w.History.AsOf())
	// A call is counted when it has ended, so the last moments would show too few.
	s.counts = w.Series.Between(now.Add(-shownSpan-bucketWidth), now.Add(-bucketWidth))
	return s
}

// count counts the fleet by region and state, and those whose process runs.
func (w *World) count(states map[string]map[string]int) (running int) {
	for i, n := 0, w.Fleet.Len(); i < n; i++ {
		mc := w.Fleet.At(i)
		if mc.Running() {
			running++
		}
		if state := w.History.State(mc.ID); state != "" {
			states[mc.Region][state]++
		}
	}
	return running
}

func (s snapshot) calls() string {
	text := fmt.Sprintf("%.0f heartbeats/s", s.counts.Rate())
	if n := s.counts.Registrations; n > 0 {
		text += fmt.Sprintf(", %d registrations", n)
	}
	if s.counts.Codes[codes.OK] > 0 {
		text += fmt.Sprintf(", half within %s, 99 %% within %s", short(s.counts.Quantile(0.5)), short(s.counts.Quantile(0.99)))
	}
	if n := s.counts.Failed(); n > 0 {
		text += fmt.Sprintf(", %d failed%s", n, codesOf(s.counts))
	}
	return text
}

func (s snapshot) ago() string { return fmt.Sprintf("%.0f s ago", s.age.Seconds()) }

// line is the snapshot for where nothing can be redrawn.
func (s snapshot) line() string {
	var states []string
	for _, state := range shownStates {
		n := 0
		for _, region := range s.regions {
			n += s.states[region][state]
		}
		if n > 0 {
			states = append(states, fmt.Sprintf("%d %s", n, state))
		}
	}
	text := strings.Join(states, ", ")
	if s.age > freshFor && len(states) > 0 {
		text += " " + s.ago()
	}
	return fmt.Sprintf("%d run; %s; %s", s.running, text, s.calls())
}

// screen is the snapshot as the lines of a table.
func (s snapshot) screen() []string {
	lines := []string{
		fmt.Sprintf("%s on %s: %d of %d controllers run, %s so far", s.scenario, s.where, s.running, s.mcs, short(s.elapsed)),
		fmt.Sprintf("now: %s (for %s)", s.phase, short(s.inPhase)),
		"calls: " + s.calls(),
	}
	head := "region"
	if s.age > freshFor {
		head = s.ago() + ":"
	}
	header := fmt.Sprintf("  %-14s", head)
	for _, state := range shownStates {
		header += fmt.Sprintf(" %9s", state)
	}
	lines = append(lines, header)
	for _, region := range s.regions {
		line := fmt.Sprintf("  %-14s", region)
		for _, state := range shownStates {
			line += fmt.Sprintf(" %9d", s.states[region][state])
		}
		lines = append(lines, line)
	}
	return lines
}
