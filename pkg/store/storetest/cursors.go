package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"darktower.example/global-controller/service"
)

func mustList(t *testing.T, s Store, filter service.TransitionFilter) service.TransitionList {
	t.Helper()
	if filter.Limit == 0 {
		filter.Limit = 100
	}
	list, err := s.Transitions(t.Context(), filter)
	if err != nil {
		t.Fatalf("Transitions(%+v) = %v", filter, err)
	}
	return list
}

func mustMakeHistory(t *testing.T, f Fixture, id string, times int) {
	t.Helper()
	for range times {
		mustRegister(t, f.Store, id)
		mustHeartbeat(t, f.Store, heartbeat(id, service.HealthHealthy))
	}
}

func after(c service.Cursor) service.TransitionFilter {
	return service.TransitionFilter{After: c.ID, Fingerprint: c.Fingerprint}
}

func wantGone(t *testing.T, s Store, what string, filter service.TransitionFilter) {
	t.Helper()
	filter.Limit = 100
	if list, err := s.Transitions(t.Context(), filter); !errors.Is(err, service.ErrGone) {
		t.Errorf("Transitions(after %s) = %d transitions, %v, want ErrGone", what, len(list.Transitions), err)
	}
}

// testCursors: a cursor belongs to one history. A history with the same ids, such as that of a restored backup, does not continue from
// it.
func testCursors(t *testing.T, f Fixture) {
	mustMakeHistory(t, f, "mc", 2)
	kept := mustList(t, f.Store, service.TransitionFilter{})
	mustMakeHistory(t, f, "mc", 2)
	all := mustList(t, f.Store, service.TransitionFilter{})
	if want := all.Transitions[7].Cursor(); all.Through != want || want.Fingerprint == "" {
		t.Errorf("through = %+v, want %+v", all.Through, want)
	}
	if got := mustList(t, f.Store, after(kept.Through)); !cmp.Equal(got.Transitions, all.Transitions[4:]) {
		t.Errorf("after %v = %+v, want the last four", kept.Through, got.Transitions)
	}
	if got := mustList(t, f.Store, after(all.Through)); len(got.Transitions) != 0 || got.Through != all.Through {
		t.Errorf("after the newest = %+v, want nothing", got)
	}
	wantGone(t, f.Store, "an id above the newest", service.TransitionFilter{After: all.Through.ID + 1})
	wantGone(t, f.Store, "another transition", service.TransitionFilter{After: all.Through.ID, Fingerprint: kept.Through.Fingerprint})

	replica := f.OpenReplica(t)
	mustList(t, replica, service.TransitionFilter{})
	f.RewindHistory(t, kept.Through.ID+1)
	wantGone(t, f.Store, "a lost transition", after(all.Through))

	mustMakeHistory(t, f, "other", 4)
	for _, s := range []Store{f.Store, replica} {
		wantGone(t, s, "a lost transition whose id was used again", after(all.Transitions[5].Cursor()))

		list := mustList(t, s, after(kept.Through))
		if len(list.Transitions) != 8 || list.Transitions[0].ControllerID != "other" {
			t.Errorf("after the kept transitions = %+v, want the eight new ones", list.Transitions)
		}
		if newest := list.Transitions[7].Cursor(); list.Through != newest {
			t.Errorf("through = %+v, want %+v", list.Through, newest)
		}
	}
}

func testCursorsOfEmptyHistory(t *testing.T, f Fixture) {
	empty := mustList(t, f.Store, service.TransitionFilter{})
	if empty.Through != (service.Cursor{}) || len(empty.Transitions) != 0 {
		t.Errorf("an empty history = %+v, want nothing", empty)
	}
	wantGone(t, f.Store, "5 of an empty history", service.TransitionFilter{After: 5})

	mustMakeHistory(t, f, "mc", 1)
	if got := mustList(t, f.Store, after(empty.Through)); len(got.Transitions) != 2 {
		t.Errorf("after the begin = %+v, want both transitions", got.Transitions)
	}
}

// testCursorsAfterPruning: pruning does not pass a cursor that is used regularly, even if its filter matches few transitions.
func testCursorsAfterPruning(t *testing.T, f Fixture) {
	mustMakeHistory(t, f, "quiet", 1)
	quiet := mustList(t, f.Store, service.TransitionFilter{ControllerID: "quiet"})
	mustMakeHistory(t, f, "mc", 3)
	all := mustList(t, f.Store, service.TransitionFilter{}).Transitions
	followed := mustList(t, f.Store, service.TransitionFilter{
		ControllerID: "quiet",
		After:        quiet.Through.ID,
		Fingerprint:  quiet.Through.Fingerprint,
	})

	if followed.Through != all[7].Cursor() || len(followed.Transitions) != 0 {
		t.Errorf("following one controller leads to %+v, want the newest transition of all", followed)
	}

	f.SetTransitionsAge(t, all[7].ID, 2*hour)
	mustPrune(t, f.Store, service.RetentionPolicy{History: hour})
	wantGone(t, f.Store, "a pruned transition", after(all[3].Cursor()))
	wantGone(t, f.Store, "an id below the kept ones", service.TransitionFilter{After: all[3].ID})
	if got := mustList(t, f.Store, service.TransitionFilter{After: all[6].ID}); len(got.Transitions) != 1 {
		t.Errorf("after the id below the oldest = %+v, want the kept transition", got.Transitions)
	}
}

// testHistoryAfterClockWasSetBack: gaps in the history do not depend on the clock. After the clock was set back by an hour, new
// transitions seem old, and old transitions seem to be in the future.
func testHistoryAfterClockWasSetBack(t *testing.T, f Fixture) {
	mustMakeHistory(t, f, "mc", 3)
	all := mustList(t, f.Store, service.TransitionFilter{}).Transitions
	f.SetTransitionsAge(t, all[5].ID, -hour)
	f.DeleteTransition(t, all[2].ID)
	f.DeleteTransition(t, all[4].ID)
	for _, s := range []Store{f.Store, f.OpenReplica(t)} {
		var want, got []int64
		for _, i := range []int{0, 1, 3, 5} {
			want = append(want, all[i].ID)
		}
		for deadline := time.Now().Add(waitTimeout); len(got) < len(want) && time.Now().Before(deadline); {
			got = idsOf(t, s)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("shown (-want +got):\n%s", diff)
		}
	}

	mustMakeHistory(t, f, "mc", 1)
	if got := idsOf(t, f.Store); len(got) != 6 {
		t.Errorf("shown = %v, want the new transitions as well", got)
	}
}

// testHistoryByTimeWithSetClock: a search by time finds all transitions although the clock was set back by half an hour.
func testHistoryByTimeWithSetClock(t *testing.T, f Fixture) {
	mustMakeHistory(t, f, "mc", 5)
	all := mustList(t, f.Store, service.TransitionFilter{}).Transitions
	for i := len(all) - 1; i >= 0; i-- {
		age := time.Duration(len(all)-i) * 2 * hour
		if i%2 == 1 {
			age += 2*hour + hour/2 // before the previous transition
		}
		f.SetTransitionsAge(t, all[i].ID, age)
	}

	all = mustList(t, f.Store, service.TransitionFilter{}).Transitions
	for _, limit := range all {
		var since, until []service.Transition
		for _, transition := range all {
			if transition.At.Before(limit.At) {
				until = append(until, transition)
			} else {
				since = append(since, transition)
			}
		}
		if diff := cmp.Diff(since, mustList(t, f.Store, service.TransitionFilter{Since: limit.At}).Transitions); diff != "" {
			t.Errorf("since %v (-want +got):\n%s", limit.At, diff)
		}
		got := mustList(t, f.Store, service.TransitionFilter{Until: limit.At}).Transitions
		if len(got) != len(until) || len(until) > 0 && !cmp.Equal(got, until) {
			t.Errorf("until %v (-want +got):\n%s", limit.At, cmp.Diff(until, got))
		}
	}
}
