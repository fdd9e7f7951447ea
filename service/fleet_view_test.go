package service

import (
	"context"
	"errors"
	"testing"
	"time"

	"darktower.example/global-controller/service/placement"
)

// fakeControllers lists controllers and counts the calls.
type fakeControllers struct {
	controllers []Controller
	err         error
	reads       int
}

func (f *fakeControllers) Controllers(_ context.Context, filter ControllerFilter) (found []Controller, _ error) {
	f.reads++
	for _, c := range f.controllers {
		if c.Region == filter.Region && c.ControllerID > filter.AfterID {
			found = append(found, c)
		}
	}
	return found, f.err
}

// fakeLoads is an [AssignmentStore] that has loads only.
type fakeLoads struct {
	*fakeAssignments
	loads []AssignedLoad
}

func (f *fakeLoads) AssignedLoads(context.Context, string) ([]AssignedLoad, error) {
	return f.loads, nil
}

// viewTest is a view over fakes, with a clock of its own.
type viewTest struct {
	view        *FleetView
	controllers *fakeControllers
	loads       *fakeLoads
	now         time.Time
}

func newViewTest(ids ...string) *viewTest {
	v := &viewTest{
		controllers: &fakeControllers{},
		loads:       &fakeLoads{fakeAssignments: newFakeAssignments()},
		now:         time.Unix(1_800_000_000, 0),
	}
	for _, id := range ids {
		v.controllers.controllers = append(v.controllers.controllers, Controller{
			ControllerID:    id,
			Region:          "eu",
			Health:          HealthHealthy,
			MaxMeetings:     10,
			MaxParticipants: 1000,
			Incarnation:     "first",
		})
	}
	v.view = NewFleetView(FleetViewConfig{
		Controllers: v.controllers,
		Assignments: v.loads,
		Now:         func() time.Time { return v.now },
	})
	return v
}

func (v *viewTest) choose(t *testing.T) placement.Decision {
	t.Helper()
	decision, _, err := v.view.Choose(t.Context(), placement.Request{Region: "eu"}, true)
	if err != nil {
		t.Fatalf("Choose() = %v", err)
	}
	return decision
}

func TestFleetView_CountsOwnReservationsAtOnce(t *testing.T) {
	t.Parallel()
	v := newViewTest("a", "b")
	v.loads.loads = []AssignedLoad{{ControllerID: "a", Meetings: 4, MeetingsSince: 4}}
	counts := make(map[string]int)
	for range 6 {
		counts[v.choose(t).ControllerID]++
	}
	if counts["a"] != 1 || counts["b"] != 5 || v.controllers.reads != 1 {
		t.Errorf("chosen %v after %d reads, want a once and b five times after one read", counts, v.controllers.reads)
	}
}

func TestFleetView_ReadsAgainAfterItsLifetime(t *testing.T) {
	t.Parallel()
	v := newViewTest("a")
	v.choose(t)
	v.controllers.controllers[0].Health = HealthDraining
	if got := v.choose(t); got.ControllerID != "a" {
		t.Errorf("Choose() within the lifetime = %+v, want a", got)
	}

	v.now = v.now.Add(viewLifetime)
	if got := v.choose(t); got.ControllerID != "" || got.Regions[0].Ineligible[placement.ReasonDraining] != 1 {
		t.Errorf("Choose() after the lifetime = %+v, want none", got)
	}
}

func TestFleetView_CoolDownDoubles(t *testing.T) {
	t.Parallel()
	v := newViewTest("a")
	v.choose(t)
	for _, want := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 10 * time.Minute} {
		v.view.CoolDown("a", "at_capacity")
		if got := v.choose(t); got.ControllerID != "" {
			t.Fatalf("Choose() right after the refusal = %q, want none", got.ControllerID)
		}

		v.now = v.now.Add(want - time.Second)
		if got := v.choose(t); got.ControllerID != "" {
			t.Errorf("Choose() %v after the refusal = %q, want none", want-time.Second, got.ControllerID)
		}
		v.now = v.now.Add(viewLifetime)
		if got := v.choose(t); got.ControllerID != "a" {
			t.Errorf("Choose() %v after the refusal = %+v, want a", want, got)
		}
	}
}

func TestFleetView_RegistrationEndsCoolDown(t *testing.T) {
	t.Parallel()
	v := newViewTest("a")
	v.choose(t)
	v.view.CoolDown("a", "at_capacity")

	v.controllers.controllers[0].Incarnation = "second"
	v.now = v.now.Add(viewLifetime)
	if got := v.choose(t); got.ControllerID != "a" {
		t.Errorf("Choose() after a registration = %+v, want a", got)
	}
}

func TestFleetView_EndpointThatIsNotAllowed(t *testing.T) {
	t.Parallel()
	v := newViewTest("a")
	v.view.cfg.CheckEndpoint = func(string) error { return errors.New("10.0.0.1 is not in GC_MC_HOSTS") }
	if got := v.choose(t); got.ControllerID != "" || got.Regions[0].Ineligible[placement.ReasonEndpoint] != 1 {
		t.Errorf("Choose() = %+v, want none because of the endpoint", got)
	}
}

func TestFleetView_StoreFails(t *testing.T) {
	t.Parallel()
	v := newViewTest("a")
	v.controllers.err = ErrUnavailable
	if _, _, err := v.view.Choose(t.Context(), placement.Request{Region: "eu"}, true); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Choose() = %v, want ErrUnavailable", err)
	}

	v.controllers.err = nil
	if got := v.choose(t); got.ControllerID != "a" {
		t.Errorf("Choose() after the failure = %+v, want a at once", got)
	}
}
