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

// CheckFleet records what is promised for the end of every scenario: no false death, nobody who runs is anything but
// healthy, and nothing that was acknowledged is lost.
func (w *World) CheckFleet(ctx context.Context) error {
	if err := w.CheckNoFalseDeath(ctx); err != nil {
		return err
	}
	missing, err := w.awaitHealthy(ctx, w.Timing.heard())
	if err != nil {
		return err
	}
	running := 0
	for _, mc := range w.Fleet.MCs {
		if mc.Running() {
			running++
		}
	}
	w.Promise("who runs is healthy at the end", fmt.Sprint(running), fmt.Sprint(running-len(missing))+examples(missing), len(missing) == 0)
	if err := w.checkNothingLost(ctx); err != nil {
		return err
	}
	// What came since is read first, so that nothing is called missed that was only not read yet.
	if err := w.History.Sync(ctx); err != nil {
		return err
	}
	if err := w.History.Repair(ctx); err != nil {
		return err
	}
	w.Promise("who follows the history misses nothing", "0", fmt.Sprint(w.History.Missed()), w.History.Missed() == 0)
	return nil
}

// CheckNoFalseDeath records whether anybody was called stale who could be heard.
func (w *World) CheckNoFalseDeath(ctx context.Context) error {
	if err := w.History.Repair(ctx); err != nil {
		return err
	}
	byID := w.byID()
	var deaths []string
	for _, t := range w.History.Since(0, func(t Transition) bool { return t.Cause == "stale" }) {
		if mc := byID[t.ID]; mc == nil || !mc.mayDie(t.At) {
			deaths = append(deaths, fmt.Sprintf("%s after %s of silence", t.ID, short(t.Silence)))
		}
	}
	w.Promise("no false death", "0", fmt.Sprint(len(deaths))+examples(deaths), len(deaths) == 0)
	return nil
}

func (w *World) byID() map[string]*MC {
	byID := make(map[string]*MC, len(w.Fleet.MCs))
	for _, mc := range w.Fleet.MCs {
		byID[mc.ID] = mc
	}
	return byID
}

func (w *World) checkNothingLost(ctx context.Context) error {
	// First what was acknowledged, then what is stored: it may only be more.
	acknowledged := make(map[string]uint32)
	for _, mc := range w.Fleet.MCs {
		if _, load := mc.LastAck(); load > 0 {
			acknowledged[mc.ID] = load
		}
	}
	stored, err := w.History.Fleet(ctx)
	if err != nil {
		return err
	}
	var lost []string
	for id, load := range acknowledged {
		if c := stored[id]; c == nil || c.GetCurrentMeetings() < load {
			lost = append(lost, fmt.Sprintf("%s: %d stored, %d acknowledged", id, c.GetCurrentMeetings(), load))
		}
	}
	w.Promise("no acknowledged heartbeat is lost", "0", fmt.Sprintf("%d of %d%s", len(lost), len(acknowledged), examples(lost)), len(lost) == 0)
	return nil
}

// examples shows a few of many.
func examples(of []string) string {
	switch {
	case len(of) == 0:
		return ""
	case len(of) > 2:
		return " (" + strings.Join(of[:2], ", ") + ", …)"
	default:
		return " (" + strings.Join(of, ", ") + ")"
	}
}

// CheckHeard waits until everybody who runs was heard since a time, and records whether all were in time. The fleet
// was marked at that time.
func (w *World) CheckHeard(ctx context.Context, since time.Time, of string) error {
	w.Phase("who is heard again, and when")
	bound := w.Timing.heard()
	silent := func() (ids []string) {
		for _, mc := range w.Fleet.MCs {
			if mc.Running() && mc.FirstAck().IsZero() {
				ids = append(ids, mc.ID)
			}
		}
		return ids
	}
	w.Until(ctx, time.Until(since.Add(3*bound)), func() bool { return len(silent()) == 0 })
	if err := ctx.Err(); err != nil {
		return err
	}
	var times []time.Duration
	for _, mc := range w.Fleet.MCs {
		if at := mc.FirstAck(); !at.IsZero() {
			times = append(times, max(0, at.Sub(since)))
		}
	}
	missing := silent()
	if len(times) == 0 {
		w.Promise("all are heard again after "+of, "≤ "+short(bound), "nobody was", false)
		return nil
	}
	slices.Sort(times)
	last := times[len(times)-1]
	observed := fmt.Sprintf("last %s, median %s", short(last), short(times[len(times)/2]))
	if len(missing) > 0 {
		observed = fmt.Sprintf("%d were not%s", len(missing), examples(missing))
	}
	w.Promise("all are heard again after "+of, fmt.Sprintf("≤ %s (interval + announced spread + %s)", short(bound), short(allowance)), observed, len(missing) == 0 && last <= bound)
	return nil
}

// CheckPeak waits until three intervals after a time are over, and records whether any second of them had more
// heartbeats than promised, tried or acknowledged.
func (w *World) CheckPeak(ctx context.Context, since time.Time, steady Steady, after string) error {
	w.Phase("how often the fleet calls after %s", after)
	until := since.Add(3 * w.Timing.Fast)
	// A call is counted when it has ended.
	if err := w.Wait(ctx, time.Until(until.Add(w.Timing.Fast/2))); err != nil {
		return err
	}
	peak := w.Series.Peak(since, until)
	w.Promise("peak rate after "+after, fmt.Sprintf("≤ 2 × steady (%.0f/s)", steady.Rate),
		fmt.Sprintf("%.1f × (%.0f/s, the highest second of 3 intervals)", peak/max(steady.Rate, 0.1), peak), peak <= 2*steady.Rate)
	return nil
}

// CheckDeaths waits until the controllers have been found unhealthy, and records whether all were in time.
func (w *World) CheckDeaths(ctx context.Context, mcs []*MC, since uint64, who string) error {
	w.Phase("waiting until %s are found", who)
	bound := w.Timing.found()
	found := func() map[string]Transition {
		stale := make(map[string]Transition)
		for _, t := range w.History.Since(since, func(t Transition) bool { return t.Cause == "stale" }) {
			stale[t.ID] = t
		}
		return stale
	}
	w.Until(ctx, bound+5*time.Second, func() bool {
		stale := found()
		return !slices.ContainsFunc(mcs, func(mc *MC) bool { _, ok := stale[mc.ID]; return !ok })
	})
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := w.History.Repair(ctx); err != nil {
		return err
	}
	stale, latest, recorded := found(), time.Duration(0), time.Duration(0)
	var missing []string
	for _, mc := range mcs {
		t, ok := stale[mc.ID]
		if !ok {
			missing = append(missing, mc.ID)
			continue
		}
		if silence := t.At.Sub(mc.LastSent()); silence > latest {
			latest, recorded = silence, t.Silence
		}
	}
	w.Promise("all of "+who+" are found unhealthy", fmt.Sprint(len(mcs)), fmt.Sprint(len(mcs)-len(missing))+examples(missing), len(missing) == 0)
	w.Promise("how long after their last heartbeat", fmt.Sprintf("≤ %s (threshold + checker's interval + %s)", short(bound), short(allowance)), fmt.Sprintf("last %s (recorded as %s)", short(latest), short(recorded)), latest <= bound)
	return nil
}

// codesOf says which codes there were, the most frequent first.
func codesOf(counts Counts) string {
	names := slices.SortedFunc(maps.Keys(counts.Codes), func(a, b codes.Code) int { return counts.Codes[b] - counts.Codes[a] })
	var parts []string
	for _, code := range names {
		if code != codes.OK {
			parts = append(parts, fmt.Sprintf("%d %v", counts.Codes[code], code))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// CheckNoFailure records whether every call since a time was acknowledged. Calls that we cut off ourselves by ending a
// process do not count.
func (w *World) CheckNoFailure(since time.Time) {
	counts := w.Series.Between(since, time.Now())
	delete(counts.Codes, codes.Canceled)
	failed := 0
	for code, n := range counts.Codes {
		if code != codes.OK {
			failed += n
		}
	}
	w.Promise("no call fails", "0", fmt.Sprintf("%d of %d%s", failed, counts.Calls(), codesOf(counts)), failed == 0)
}
