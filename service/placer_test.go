package service

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"darktower.example/global-controller/service/placement"
)

// fakeAssignments is an [AssignmentStore] in memory.
type fakeAssignments struct {
	mu         sync.Mutex
	generation int64
	rows       map[AssignmentKey]Assignment
	// ineligible controllers are refused.
	ineligible map[string]bool
}

func newFakeAssignments() *fakeAssignments {
	return &fakeAssignments{rows: make(map[AssignmentKey]Assignment), ineligible: make(map[string]bool)}
}

func (f *fakeAssignments) Reserve(_ context.Context, r Reservation) (ReserveResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()

	if found, ok := f.rows[r.AssignmentKey]; ok {
		return ReserveResult{Assignment: found}, nil
	}
	if f.ineligible[r.ControllerID] {
		return ReserveResult{}, ErrNotEligible
	}
	f.generation++
	a := Assignment{
		AssignmentKey: r.AssignmentKey,
		ControllerID:  r.ControllerID,
		Generation:    f.generation,
		IsConfirmed:   r.Lifetime == 0,
		Reason:        r.Reason,
	}
	f.rows[r.AssignmentKey] = a
	return ReserveResult{Assignment: a, IsOwn: true}, nil
}

func (f *fakeAssignments) Confirm(_ context.Context, c Confirmation) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()

	a, ok := f.rows[c.AssignmentKey]
	if !ok || a.Generation != c.Generation || a.IsConfirmed {
		return false, nil
	}
	a.IsConfirmed = true
	f.rows[c.AssignmentKey] = a
	return true, nil
}

func (f *fakeAssignments) Release(_ context.Context, key AssignmentKey, generation int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()

	if f.rows[key].Generation == generation {
		delete(f.rows, key)
	}
	return nil
}

func (f *fakeAssignments) EndAssignment(context.Context, AssignmentEnd) (Assignment, error) {
	return Assignment{}, errors.New("not used")
}

func (f *fakeAssignments) Assignment(_ context.Context, key AssignmentKey) (Assignment, error) {
	f.mu.Lock()
	defer f.mu.Unlock()

	a, ok := f.rows[key]
	if !ok {
		return Assignment{}, ErrNotAssigned
	}
	return a, nil
}

func (f *fakeAssignments) AssignedLoads(context.Context, string) ([]AssignedLoad, error) {
	return nil, errors.New("not used")
}

func (f *fakeAssignments) Assignments(context.Context, AssignmentFilter) ([]Assignment, error) {
	return nil, errors.New("not used")
}

// fakeFleet is a [Fleet] of healthy controllers of the region "eu".
type fakeFleet struct {
	mu          sync.Mutex
	controllers map[string]Controller
	reserved    map[string]int64
	coolDowns   map[string]string
}

func newFakeFleet(ids ...string) *fakeFleet {
	f := &fakeFleet{
		controllers: make(map[string]Controller),
		reserved:    make(map[string]int64),
		coolDowns:   make(map[string]string),
	}
	for _, id := range ids {
		f.controllers[id] = Controller{
			ControllerID:    id,
			Region:          "eu",
			Health:          HealthHealthy,
			MaxMeetings:     100,
			MaxParticipants: 1000,
		}
	}
	return f
}

func (f *fakeFleet) Choose(_ context.Context, r placement.Request, isCounted bool) (placement.Decision, Controller, error) {
	f.mu.Lock()
	defer f.mu.Unlock()

	fleet := make(placement.Fleet)
	for id, c := range f.controllers {
		fleet["eu"] = append(fleet["eu"], placement.Candidate{
			ID:       id,
			Region:   "eu",
			State:    placement.State(c.Health),
			Limit:    placement.Size{Meetings: c.MaxMeetings, Participants: c.MaxParticipants},
			Assigned: placement.Size{Meetings: f.reserved[id]},
			CoolDown: f.coolDowns[id],
		})
	}
	decision := placement.Choose(r, fleet, rand.New(rand.NewPCG(1, uint64(f.reserved[""]))))
	f.reserved[""]++
	if isCounted && decision.ControllerID != "" {
		f.reserved[decision.ControllerID]++
	}
	return decision, f.controllers[decision.ControllerID], nil
}

func (f *fakeFleet) Controller(_ context.Context, _ []string, id string) (Controller, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.controllers[id]
	return c, ok, nil
}

func (f *fakeFleet) CoolDown(controllerID, reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.coolDowns[controllerID] = reason
}

// fakeAsker responds for each controller, and records whom it asked for which meeting.
type fakeAsker struct {
	outcomes map[string]AskOutcome

	mu    sync.Mutex
	asked map[string]int
}

func (f *fakeAsker) Ask(_ context.Context, c Controller, key AssignmentKey) (AskOutcome, string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked[key.MeetingID+" "+c.ControllerID]++
	if outcome, ok := f.outcomes[c.ControllerID]; ok {
		return outcome, "at_capacity"
	}
	return AskAccepted, ""
}

func newTestPlacer(store AssignmentStore, fleet Fleet, asker Asker) *Placer {
	return NewPlacer(PlacerConfig{Store: store, Fleet: fleet, Asker: asker, ReplicaID: "gc", AskTimeout: time.Second})
}

func request(meeting string) AssignRequest {
	return AssignRequest{AssignmentKey: AssignmentKey{MeetingID: meeting, Region: "eu"}}
}

func TestPlacer_AssignsAndReuses(t *testing.T) {
	t.Parallel()
	p := newTestPlacer(newFakeAssignments(), newFakeFleet("a", "b"), nil)
	first, err := p.Assign(t.Context(), request("m"))
	if err != nil || first.IsReused || !first.Assignment.IsConfirmed || first.Controller.ControllerID != first.Assignment.ControllerID {
		t.Fatalf("Assign() = %+v, %v, want a confirmed assignment with its controller", first, err)
	}

	again, err := p.Assign(t.Context(), request("m"))
	if err != nil || !again.IsReused || again.Assignment.Generation != first.Assignment.Generation {
		t.Errorf("Assign(again) = %+v, %v, want the same one, reused", again, err)
	}
}

func TestPlacer_ConcurrentRequestsShareOneChoice(t *testing.T) {
	t.Parallel()
	asker := &fakeAsker{asked: make(map[string]int)}
	p := newTestPlacer(newFakeAssignments(), newFakeFleet("a", "b", "c"), asker)
	generations := make([]int64, 32)

	var all sync.WaitGroup
	for i := range generations {
		all.Go(func() {
			response, err := p.Assign(t.Context(), request("m"))
			if err != nil {
				t.Errorf("Assign() = %v", err)
			}
			generations[i] = response.Assignment.Generation
		})
	}
	all.Wait()

	for _, generation := range generations {
		if generation != generations[0] {
			t.Fatalf("generations %v, want one", generations)
		}
	}
	if len(asker.asked) != 1 {
		t.Errorf("asked %v, want one controller, once", asker.asked)
	}
}

func TestPlacer_TriesOtherControllers(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		outcome  AskOutcome
		coolDown bool
	}{
		{"rejected", AskRejected, true},
		{"unknown", AskUnknown, false},
		{"not sent", AskNotSent, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			asker := &fakeAsker{asked: make(map[string]int), outcomes: map[string]AskOutcome{"a": tc.outcome, "b": tc.outcome}}
			fleet := newFakeFleet("a", "b", "c")
			p := newTestPlacer(newFakeAssignments(), fleet, asker)
			fleet.reserved["c"] = 50 // c is the last choice.
			response, err := p.Assign(t.Context(), request("m"))
			if err != nil || response.Assignment.ControllerID != "c" || !response.Assignment.IsConfirmed {
				t.Fatalf("Assign() = %+v, %v, want c", response, err)
			}

			for asked, times := range asker.asked {
				if times != 1 {
					t.Errorf("%s was asked %d times, want once", asked, times)
				}
			}
			if got := fleet.coolDowns["a"] != ""; got != tc.coolDown {
				t.Errorf("a cools down: %v, want %v", got, tc.coolDown)
			}
		})
	}
}

func TestPlacer_NoCandidate(t *testing.T) {
	t.Parallel()
	fleet := newFakeFleet("a", "b")
	for id, c := range fleet.controllers {
		c.Health = HealthDraining
		fleet.controllers[id] = c
	}
	_, err := newTestPlacer(newFakeAssignments(), fleet, nil).Assign(t.Context(), request("m"))
	var none *NoCandidateError
	const want = "no eligible controller in eu: 2 registered, 2 draining"
	if !errors.Is(err, ErrUnavailable) || !errors.As(err, &none) || !strings.Contains(none.Reason, want) {
		t.Errorf("Assign() = %v, want ErrUnavailable with the sum of the reasons", err)
	}
}

func TestPlacer_IneligibleInTheCommit(t *testing.T) {
	t.Parallel()
	store, fleet := newFakeAssignments(), newFakeFleet("a", "b")
	store.ineligible["a"] = true
	fleet.reserved["b"] = 50
	response, err := newTestPlacer(store, fleet, nil).Assign(t.Context(), request("m"))
	if err != nil || response.Assignment.ControllerID != "b" {
		t.Errorf("Assign() = %+v, %v, want b", response, err)
	}
}

func TestPlacer_DryRunChangesNothing(t *testing.T) {
	t.Parallel()
	store := newFakeAssignments()
	r := request("m")
	r.DryRun = true
	response, err := newTestPlacer(store, newFakeFleet("a"), nil).Assign(t.Context(), r)
	if err != nil || response.Assignment.ControllerID != "a" || response.Assignment.Generation != 0 || len(store.rows) != 0 {
		t.Errorf("Assign(dry run) = %+v, %v with %d rows, want a and no row", response, err, len(store.rows))
	}
}

func TestPlacer_BurstIsSpread(t *testing.T) {
	t.Parallel()
	var ids []string
	for i := range 22 {
		ids = append(ids, fmt.Sprintf("mc-%02d", i))
	}
	store, fleet := newFakeAssignments(), newFakeFleet(ids...)
	for _, id := range ids {
		fleet.reserved[id] = 20 + rand.Int64N(21)
	}
	p := newTestPlacer(store, fleet, nil)

	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			if _, err := p.Assign(t.Context(), request(fmt.Sprintf("m-%d", i))); err != nil {
				t.Errorf("Assign() = %v", err)
			}
		})
	}
	all.Wait()

	var largest, sum int64
	delete(fleet.reserved, "") // The seed.
	for _, n := range fleet.reserved {
		largest = max(largest, n)
		sum += n
	}
	if ratio := float64(largest) * 22 / float64(sum); ratio > 1.2 {
		t.Errorf("the largest load is %.2f of the mean, want at most 1.2", ratio)
	}
}
