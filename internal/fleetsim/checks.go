package fleetsim

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
)

// CheckFleet records the checks at the end of every scenario. No controller was wrongly marked stale, and all running
// controllers are healthy. No acknowledged heartbeat is lost, and a follower of the history misses no transition.
func (e *Environment) CheckFleet(ctx context.Context) error {
	if err := e.CheckNotWronglyStale(ctx); err != nil {
		return err
	}
	if err := e.checkHealthy(ctx); err != nil {
		return err
	}
	if err := e.checkStoredLoads(ctx); err != nil {
		return err
	}
	return e.checkHistory(ctx)
}

// CheckNotWronglyStale records whether a controller was marked stale although its heartbeats could arrive.
func (e *Environment) CheckNotWronglyStale(ctx context.Context) error {
	if err := e.History.Reread(ctx); err != nil {
		return err
	}
	mcByID := make(map[string]*meetingController, len(e.Fleet.Controllers))
	for _, mc := range e.Fleet.Controllers {
		mcByID[mc.ID] = mc
	}

	var wrong []string
	for _, t := range e.History.TransitionsAfter(0, isStale) {
		if mc := mcByID[t.ControllerID]; mc == nil || !mc.mayBeStale(t.At) {
			wrong = append(wrong, fmt.Sprintf("%s after %s of silence", t.ControllerID, formatDuration(t.Silence)))
		}
	}
	e.RecordCheck("no controller wrongly marked stale", "0", fmt.Sprint(len(wrong))+formatExamples(wrong), len(wrong) == 0)
	return nil
}

func (e *Environment) checkHealthy(ctx context.Context) error {
	missing, err := e.awaitHealthyFor(ctx, e.Timing.heartbeatLimit())
	if err != nil {
		return err
	}
	running := e.countRunning()
	e.RecordCheck("all running controllers are healthy at the end",
		fmt.Sprint(running),
		fmt.Sprint(running-len(missing))+formatExamples(missing),
		len(missing) == 0)
	return nil
}

func (e *Environment) checkStoredLoads(ctx context.Context) error {
	// The acknowledged load is read before the stored one, so that a new heartbeat can only raise the stored load.
	acknowledged := make(map[string]uint32)
	for _, mc := range e.Fleet.Controllers {
		if load := mc.AcknowledgedLoad(); load > 0 {
			acknowledged[mc.ID] = load
		}
	}
	stored, err := e.History.ListControllers(ctx)
	if err != nil {
		return err
	}

	var lost []string
	for id, load := range acknowledged {
		if c := stored[id]; c == nil || c.GetCurrentMeetings() < load {
			lost = append(lost, fmt.Sprintf("%s: %d stored, %d acknowledged", id, c.GetCurrentMeetings(), load))
		}
	}
	e.RecordCheck("no acknowledged heartbeat is lost", "0",
		fmt.Sprintf("%d of %d%s", len(lost), len(acknowledged), formatExamples(lost)), len(lost) == 0)
	return nil
}

func (e *Environment) checkHistory(ctx context.Context) error {
	// Sync first: a transition that was not read yet does not count as missed.
	if err := e.History.Sync(ctx); err != nil {
		return err
	}
	if err := e.History.Reread(ctx); err != nil {
		return err
	}
	missed := e.History.CountMissed()
	e.RecordCheck("transitions that a history follower misses", "0", fmt.Sprint(missed), missed == 0)
	return nil
}

// CheckHeartbeatsResume waits until all running controllers have an acknowledged heartbeat since a time, and records whether
// that happened within [Timing.heartbeatLimit]. ResetFirstAcks must have been called with that time or an earlier one.
func (e *Environment) CheckHeartbeatsResume(ctx context.Context, since time.Time, event string) error {
	e.SetPhase("waiting for the first heartbeats after %s", event)
	limit := e.Timing.heartbeatLimit()
	name := "all send heartbeats again after " + event
	missingIDs := func() (ids []string) {
		for _, mc := range e.Fleet.Controllers {
			if mc.IsRunning() && mc.FirstAck().IsZero() {
				ids = append(ids, mc.ID)
			}
		}
		return ids
	}

	e.WaitUntil(ctx, time.Until(since.Add(3*limit)), func() bool { return len(missingIDs()) == 0 })
	if err := ctx.Err(); err != nil {
		return err
	}

	var delays []time.Duration
	for _, mc := range e.Fleet.Controllers {
		if at := mc.FirstAck(); !at.IsZero() {
			delays = append(delays, max(0, at.Sub(since)))
		}
	}
	missing := missingIDs()
	if len(delays) == 0 {
		e.RecordCheck(name, "≤ "+formatDuration(limit), "none did", false)
		return nil
	}

	slices.Sort(delays)
	last := delays[len(delays)-1]
	observed := fmt.Sprintf("last %s, median %s", formatDuration(last), formatDuration(delays[len(delays)/2]))
	if len(missing) > 0 {
		observed = fmt.Sprintf("%d did not%s", len(missing), formatExamples(missing))
	}
	e.RecordCheck(name,
		fmt.Sprintf("≤ %s (interval + announced spread + %s)", formatDuration(limit), formatDuration(margin)),
		observed,
		len(missing) == 0 && last <= limit)
	return nil
}

// CheckPeakRate waits until three intervals after a time, and records whether the heartbeats of any second among them
// exceeded twice the steady rate. Failed heartbeats count as well.
func (e *Environment) CheckPeakRate(ctx context.Context, since time.Time, steady SteadyLoad, event string) error {
	e.SetPhase("measuring the call rate after %s", event)
	until := since.Add(3 * e.Timing.Fast)
	// A call is counted when it has ended.
	if err := e.Wait(ctx, time.Until(until.Add(e.Timing.Fast/2))); err != nil {
		return err
	}

	peak := e.Series.PeakRate(since, until)
	e.RecordCheck("peak rate after "+event,
		fmt.Sprintf("≤ 2 × steady (%.0f/s)", steady.Rate),
		fmt.Sprintf("%.1f × (%.0f/s, the highest second of 3 intervals)", peak/max(steady.Rate, 0.1), peak),
		peak <= 2*steady.Rate)
	return nil
}

// CheckNoFailedCalls records whether every call since a time was acknowledged. Calls that the simulator has cancelled by
// ending a process do not count.
func (e *Environment) CheckNoFailedCalls(since time.Time) {
	counts := e.Series.CountsBetween(since, time.Now())
	delete(counts.Codes, codes.Canceled)
	failed := 0
	for code, n := range counts.Codes {
		if code != codes.OK {
			failed += n
		}
	}
	e.RecordCheck("failed calls", "0", fmt.Sprintf("%d of %d%s", failed, counts.Calls(), formatCodes(counts)), failed == 0)
}

// formatCodes returns the codes of the failed calls with their counts in parentheses, the most frequent first.
func formatCodes(counts Counts) string {
	byCount := func(a, b codes.Code) int { return counts.Codes[b] - counts.Codes[a] }
	var parts []string
	for _, code := range slices.SortedFunc(maps.Keys(counts.Codes), byCount) {
		if code != codes.OK {
			parts = append(parts, fmt.Sprintf("%d %v", counts.Codes[code], code))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}
