package fleetsim

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
)

const (
	// shownSpan is the time over which rates and latencies are shown.
	shownSpan = 3 * time.Second
	// maxShownAge is the age of the states above which it is shown. They are usually read several times a second.
	maxShownAge = 2 * time.Second
)

// shownStates are the columns of the view.
var shownStates = []string{"pending", "healthy", "degraded", "unhealthy", "draining"}

// snapshot is the progress of a scenario.
type snapshot struct {
	scenario  string
	target    string
	phase     string
	elapsed   time.Duration
	inPhase   time.Duration
	mcs       int
	running   int
	regions   []string
	states    map[string]map[string]int // number of controllers by region and state
	statesAge time.Duration             // grows while the Global Controller is unavailable
	counts    Counts                    // of the last seconds
}

func (e *Environment) takeSnapshot() snapshot {
	now := time.Now()
	e.mu.Lock()
	s := snapshot{
		scenario: e.scenario,
		target:   e.describeTarget(),
		phase:    e.phase,
		inPhase:  now.Sub(e.phaseStarted),
		elapsed:  now.Sub(e.startedAt),
		mcs:      e.opts.Controllers,
		regions:  e.opts.regionNames(),
		states:   make(map[string]map[string]int),
	}
	e.mu.Unlock()

	for _, region := range s.regions {
		s.states[region] = make(map[string]int)
	}
	s.running = e.countStates(s.states)
	s.statesAge = now.Sub(e.History.ReadAt())
	// A call is counted when it has ended, so the count of the last moments is too low.
	s.counts = e.Series.CountsBetween(now.Add(-shownSpan-bucketWidth), now.Add(-bucketWidth))
	return s
}

// countStates counts the fleet by region and state, and returns the number of controllers with a running process.
func (e *Environment) countStates(states map[string]map[string]int) (running int) {
	for i, n := 0, e.Fleet.Len(); i < n; i++ {
		mc := e.Fleet.At(i)
		if mc.IsRunning() {
			running++
		}
		if state := e.History.State(mc.ID); state != "" {
			states[mc.Region][state]++
		}
	}
	return running
}

func (s snapshot) formatCalls() string {
	text := fmt.Sprintf("%.0f heartbeats/s", s.counts.Rate())
	if n := s.counts.Registrations; n > 0 {
		text += fmt.Sprintf(", %d registrations", n)
	}
	if s.counts.Codes[codes.OK] > 0 {
		text += fmt.Sprintf(", half within %s, 99 %% within %s",
			formatDuration(s.counts.Quantile(0.5)), formatDuration(s.counts.Quantile(0.99)))
	}
	if n := s.counts.Failed(); n > 0 {
		text += fmt.Sprintf(", %d failed%s", n, formatCodes(s.counts))
	}
	return text
}

func (s snapshot) formatAge() string { return fmt.Sprintf("%.0f s ago", s.statesAge.Seconds()) }

// formatLine returns the snapshot as one line, for an output that cannot be redrawn.
func (s snapshot) formatLine() string {
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
	if s.statesAge > maxShownAge && len(states) > 0 {
		text += " " + s.formatAge()
	}
	return fmt.Sprintf("%d running; %s; %s", s.running, text, s.formatCalls())
}

// formatScreen returns the snapshot as the lines of a table.
func (s snapshot) formatScreen() []string {
	lines := []string{
		fmt.Sprintf("%s on %s: %d of %d controllers running, %s elapsed",
			s.scenario, s.target, s.running, s.mcs, formatDuration(s.elapsed)),
		fmt.Sprintf("now: %s (for %s)", s.phase, formatDuration(s.inPhase)),
		"calls: " + s.formatCalls(),
	}

	heading := "region"
	if s.statesAge > maxShownAge {
		heading = s.formatAge() + ":"
	}
	header := fmt.Sprintf("  %-14s", heading)
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
