package service

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// fakeStore returns its fields and records the last call.
type fakeStore struct {
	Store
	err      error
	beat     HeartbeatWrite
	filter   ControllerFilter
	page     []Controller
	register *Transition
}

func (f *fakeStore) Register(context.Context, Registration, string) (RegisterResult, error) {
	return RegisterResult{Transition: f.register}, f.err
}

func (f *fakeStore) Heartbeat(_ context.Context, h HeartbeatWrite) (HeartbeatResult, error) {
	f.beat = h
	return HeartbeatResult{At: time.Unix(7, 0)}, f.err
}

func (f *fakeStore) Controller(_ context.Context, id string) (Controller, error) {
	return Controller{ControllerID: id}, f.err
}

func (f *fakeStore) Controllers(_ context.Context, filter ControllerFilter) ([]Controller, error) {
	f.filter = filter
	return f.page[:min(len(f.page), filter.Limit)], f.err
}

type countingObserver struct{ changed, committed, failed, superseded int }

func (o *countingObserver) ObserveTransition(Transition) { o.changed++ }
func (o *countingObserver) ObserveCommit(string)         { o.committed++ }
func (o *countingObserver) ObserveFailure(string)        { o.failed++ }
func (o *countingObserver) ObserveSuperseded()           { o.superseded++ }

func newTestService(store *fakeStore) (Service, *countingObserver) {
	observer := &countingObserver{}
	return New(store, Intervals{Fast: 10 * time.Second, Comprehensive: 30 * time.Second}, observer, nil), observer
}

func TestRegisterMC_ReturnsIntervals(t *testing.T) {
	svc, observer := newTestService(&fakeStore{register: &Transition{To: HealthPending}})
	got, err := svc.RegisterMC(t.Context(), Registration{
		ControllerID:    "mc",
		Region:          "r",
		GRPCEndpoint:    "http://mc",
		MaxMeetings:     1,
		MaxParticipants: 1,
	})
	got.RetryAfter = 0 // See TestLoadSpreader.

	want := RegistrationResponse{FastInterval: 10 * time.Second, ComprehensiveInterval: 30 * time.Second, Created: true}
	if err != nil || got != want {
		t.Errorf("RegisterMC() = %+v, %v, want %+v, nil", got, err, want)
	}
	if observer.changed != 1 {
		t.Errorf("changes reported = %d, want 1", observer.changed)
	}
}

func TestHeartbeats_ReachTheStore(t *testing.T) {
	store := &fakeStore{}
	svc, observer := newTestService(store)
	ctx := WithCaller(t.Context(), Caller{Subject: "client-1"})
	beat := FastHeartbeat{ControllerID: "mc", Load: &LoadReport{CurrentMeetings: 2, CurrentParticipants: 3}, Health: HealthDegraded}

	if ack, err := svc.FastHeartbeat(ctx, beat); err != nil || ack.At.Unix() != 7 {
		t.Errorf("FastHeartbeat() = %v, %v, want the store's time", ack, err)
	}
	want := HeartbeatWrite{
		ControllerID:        "mc",
		CurrentMeetings:     2,
		CurrentParticipants: 3,
		Reported:            HealthDegraded,
		Actor:               "client-1",
	}
	if store.beat != want {
		t.Errorf("stored heartbeat = %+v, want %+v", store.beat, want)
	}

	if _, err := svc.ComprehensiveHeartbeat(ctx, ComprehensiveHeartbeat{beat, 4, 5}); err != nil {
		t.Errorf("ComprehensiveHeartbeat() = %v, want nil", err)
	}
	if got, want := *store.beat.Usage, (Usage{4, 5}); got != want {
		t.Errorf("stored usage = %+v, want %+v", got, want)
	}
	if observer.committed != 2 || observer.failed != 0 {
		t.Errorf("committed, failed = %d, %d, want 2, 0", observer.committed, observer.failed)
	}
}

func TestFastHeartbeat_ServerSideFailures(t *testing.T) {
	tests := []struct {
		err  error
		want int
	}{
		{fmt.Errorf("connect: %w", ErrUnavailable), 1},
		{context.DeadlineExceeded, 0},
		{context.Canceled, 0},
		{ErrNotRegistered, 0},
		{errors.New("permission denied"), 1},
	}

	for _, tc := range tests {
		svc, observer := newTestService(&fakeStore{err: tc.err})
		_, err := svc.FastHeartbeat(t.Context(), FastHeartbeat{ControllerID: "mc", Load: &LoadReport{}})
		if !errors.Is(err, tc.err) || observer.failed != tc.want || observer.committed != 0 {
			t.Errorf("%v: FastHeartbeat() = %v with %d failed, want it wrapped and %d", tc.err, err, observer.failed, tc.want)
		}
	}
}

func TestListControllers_PageToken(t *testing.T) {
	store := &fakeStore{page: []Controller{{ControllerID: "a"}, {ControllerID: "b"}, {ControllerID: "c"}}}
	svc, _ := newTestService(store)
	first, err := svc.ListControllers(t.Context(), ListQuery{PageSize: 2})
	if err != nil || len(first.Controllers) != 2 || first.NextPageToken == "" {
		t.Fatalf("ListControllers() = %+v, %v, want two and a token", first, err)
	}

	if _, err := svc.ListControllers(t.Context(), ListQuery{PageSize: 3, PageToken: first.NextPageToken}); err != nil {
		t.Fatalf("ListControllers(token) = %v, want nil", err)
	}
	if store.filter.AfterID != "b" {
		t.Errorf("the second page starts after %q, want b", store.filter.AfterID)
	}

	for _, q := range []ListQuery{{PageToken: "!"}, {PageToken: "MTog"}, {PageSize: -1}, {PageSize: 1001}, {Health: "well"}, {Region: "a b"}} {
		var invalid *InvalidError
		if _, err := svc.ListControllers(t.Context(), q); !errors.As(err, &invalid) {
			t.Errorf("ListControllers(%+v) = %v, want an InvalidError", q, err)
		}
	}
}

func TestEligibility_EveryReason(t *testing.T) {
	notFull := Controller{MaxMeetings: 1, MaxParticipants: 1, Health: HealthHealthy}
	if p := notFull.Eligibility(); !p.Eligible || len(p.Reasons) != 0 {
		t.Errorf("Eligibility() = %+v, want eligible", p)
	}

	full := Controller{Health: HealthDraining, Facts: Facts{OperatorDraining: true, Stale: true}}
	if p := full.Eligibility(); p.Eligible || len(p.Reasons) != 4 {
		t.Errorf("Eligibility() = %+v, want four reasons", p)
	}
}
