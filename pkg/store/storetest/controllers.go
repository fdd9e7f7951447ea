package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"darktower.example/global-controller/service"
)

// varying ignores the fields of a transition that depend on the time of the test.
var varying = cmpopts.IgnoreFields(service.Transition{}, "At", "Silence")

func testRegisterAndHeartbeat(t *testing.T, f Fixture) {
	first := mustRegister(t, f.Store, "mc-1")
	want := &service.Transition{
		ControllerID: "mc-1",
		Region:       "eu",
		To:           service.HealthPending,
		Cause:        service.CauseRegister,
		Actor:        "client",
		Reason:       "registered",
		Reported:     service.HealthPending,
	}
	if diff := cmp.Diff(want, first, varying); diff != "" {
		t.Errorf("first registration (-want +got):\n%s", diff)
	}
	if first != nil && (first.Silence != 0 || first.At.Location() != time.UTC || first.At.IsZero()) {
		t.Errorf("first registration = %+v, want no silence and a time in UTC", first)
	}

	registered := mustGet(t, f.Store, "mc-1")
	healthy := mustHeartbeat(t, f.Store, heartbeat("mc-1", service.HealthHealthy))
	want = &service.Transition{
		ControllerID: "mc-1",
		Region:       "eu",
		From:         service.HealthPending,
		To:           service.HealthHealthy,
		Cause:        service.CauseHeartbeat,
		Actor:        "client",
		Reason:       "reported healthy",
		Reported:     service.HealthHealthy,
	}
	if diff := cmp.Diff(want, healthy.Transition, varying); diff != "" {
		t.Errorf("first heartbeat (-want +got):\n%s", diff)
	}

	again := mustHeartbeat(t, f.Store, heartbeat("mc-1", service.HealthHealthy))
	if again.Transition != nil || again.At.Before(healthy.At) {
		t.Errorf("second heartbeat = %+v, want no transition and no time before %v", again, healthy.At)
	}

	got, stored := mustGet(t, f.Store, "mc-1"), registered
	stored.Health, stored.Facts.Reported = service.HealthHealthy, service.HealthHealthy
	stored.CurrentMeetings, stored.CurrentParticipants = 3, 4
	stored.LastHeartbeatAt, stored.UpdatedAt = got.LastHeartbeatAt, got.UpdatedAt
	if diff := cmp.Diff(stored, got); diff != "" {
		t.Errorf("after heartbeats (-want +got):\n%s", diff)
	}
	if got.LastHeartbeatAt.Before(healthy.At) || got.UpdatedAt.Before(registered.UpdatedAt) {
		t.Errorf("last heartbeat at %v, updated at %v, want neither earlier than before", got.LastHeartbeatAt, got.UpdatedAt)
	}
}

func testRegisterAgain(t *testing.T, f Fixture) {
	mustRegister(t, f.Store, "mc")
	h := heartbeat("mc", service.HealthHealthy)
	h.Usage = &service.Usage{CPUPercent: 12.3456789, MemoryPercent: 99.9}
	mustHeartbeat(t, f.Store, h)
	f.SetLastHeartbeatAge(t, "mc", 20*time.Second)
	before := mustGet(t, f.Store, "mc")
	renewed := registration("mc")
	renewed.Region = "us"
	renewed.GRPCEndpoint = "http://new"
	renewed.WebTransportEndpoint = "https://wt"
	renewed.MaxMeetings = 20
	renewed.MaxParticipants = 2147483647
	result, err := f.Store.Register(t.Context(), renewed, "another")
	transition := result.Transition
	if err != nil {
		t.Fatalf("Register(again) = %v", err)
	}

	want := &service.Transition{
		ControllerID: "mc",
		Region:       "us",
		From:         service.HealthHealthy,
		To:           service.HealthPending,
		Cause:        service.CauseRegister,
		Actor:        "another",
		Reason:       "registered",
		Reported:     service.HealthPending,
	}
	if diff := cmp.Diff(want, transition, varying); diff != "" {
		t.Errorf("registering again (-want +got):\n%s", diff)
	}
	if transition != nil && (transition.Silence < 19*time.Second || transition.Silence > 40*time.Second) {
		t.Errorf("silence = %v, want about 20s", transition.Silence)
	}

	got, stored := mustGet(t, f.Store, "mc"), before
	stored.Region = "us"
	stored.GRPCEndpoint = "http://new"
	stored.WebTransportEndpoint = "https://wt"
	stored.MaxMeetings = 20
	stored.MaxParticipants = 2147483647
	stored.Health, stored.Facts.Reported = service.HealthPending, service.HealthPending
	stored.LastHeartbeatAt, stored.UpdatedAt = got.LastHeartbeatAt, got.UpdatedAt
	if diff := cmp.Diff(stored, got); diff != "" {
		t.Errorf("after registering again (-want +got):\n%s", diff)
	}
	if !got.LastHeartbeatAt.After(before.LastHeartbeatAt) {
		t.Errorf("last heartbeat at %v, want later than %v", got.LastHeartbeatAt, before.LastHeartbeatAt)
	}
}

func testFastHeartbeatKeepsUsage(t *testing.T, f Fixture) {
	mustRegister(t, f.Store, "mc")
	if c := mustGet(t, f.Store, "mc"); c.CPUUsagePercent != nil || c.MemoryUsagePercent != nil {
		t.Errorf("usage before any heartbeat = %v, %v, want none", c.CPUUsagePercent, c.MemoryUsagePercent)
	}
	h := heartbeat("mc", service.HealthDegraded)
	h.Usage = &service.Usage{CPUPercent: 0, MemoryPercent: 33.125}
	mustHeartbeat(t, f.Store, h)
	mustHeartbeat(t, f.Store, heartbeat("mc", service.HealthDegraded))
	zero, third := 0.0, 33.125
	c := mustGet(t, f.Store, "mc")
	if diff := cmp.Diff([]*float64{&zero, &third}, []*float64{c.CPUUsagePercent, c.MemoryUsagePercent}); diff != "" {
		t.Errorf("usage (-want +got):\n%s", diff)
	}
}

func testUnknownControllers(t *testing.T, f Fixture) {
	if _, err := f.Store.Heartbeat(t.Context(), heartbeat("x", service.HealthHealthy)); !errors.Is(err, service.ErrNotRegistered) {
		t.Errorf("Heartbeat(unknown) = %v, want ErrNotRegistered", err)
	}
	if _, err := f.Store.Controller(t.Context(), "x"); !errors.Is(err, service.ErrNotRegistered) {
		t.Errorf("Controller(unknown) = %v, want ErrNotRegistered", err)
	}
	mustRegister(t, f.Store, "mc")
	for id, want := range map[string]bool{"x": false, "mc": true, "MC": false} {
		if got, err := f.Store.IsRegistered(t.Context(), id); err != nil || got != want {
			t.Errorf("IsRegistered(%s) = %v, %v, want %v", id, got, err, want)
		}
	}
}

func testDrainOutlastsHeartbeats(t *testing.T, f Fixture) {
	mustRegister(t, f.Store, "mc")
	f.SetDraining(t, "mc")
	if got := mustHeartbeat(t, f.Store, heartbeat("mc", service.HealthHealthy)); got.Transition != nil {
		t.Errorf("transition of a heartbeat = %+v, want none", got.Transition)
	}
	if transition := mustRegister(t, f.Store, "mc"); transition != nil {
		t.Errorf("transition of a registration = %+v, want none", transition)
	}
	want := service.Facts{OperatorDraining: true, Reported: service.HealthPending}
	if got := mustGet(t, f.Store, "mc"); got.Health != service.HealthDraining || got.Facts != want {
		t.Errorf("state = %s by %+v, want draining by %+v", got.Health, got.Facts, want)
	}
}

func testHeartbeatClearsStaleness(t *testing.T, f Fixture) {
	for name, clearStaleness := range map[string]func(id string) *service.Transition{
		"heartbeat": func(id string) *service.Transition {
			return mustHeartbeat(t, f.Store, heartbeat(id, service.HealthHealthy)).Transition
		},
		"registration": func(id string) *service.Transition { return mustRegister(t, f.Store, id) },
	} {
		mustRegister(t, f.Store, name)
		f.SetLastHeartbeatAge(t, name, hour)
		f.SetCheckerAges(t, 0, hour, hour)
		mustBeatAndSweep(t, f.Store, sweepPolicy)
		if c := mustGet(t, f.Store, name); c.Health != service.HealthUnhealthy || !c.Facts.Stale {
			t.Fatalf("%s = %s, stale %v, want unhealthy and stale", name, c.Health, c.Facts.Stale)
		}

		transition := clearStaleness(name)
		if transition == nil || transition.From != service.HealthUnhealthy || transition.Silence < 59*time.Minute {
			t.Errorf("%s: transition = %+v, want one from unhealthy after an hour", name, transition)
		}

		if c := mustGet(t, f.Store, name); c.Facts.Stale || c.Health == service.HealthUnhealthy {
			t.Errorf("%s = %s, stale %v, want neither unhealthy nor stale", name, c.Health, c.Facts.Stale)
		}
	}
}

func testListing(t *testing.T, f Fixture) {
	for _, id := range []string{"b", "a", "_", "B", "-", "a-1", "a1", "aB"} {
		mustRegister(t, f.Store, id)
	}

	mustHeartbeat(t, f.Store, heartbeat("b", service.HealthDegraded))
	for _, tc := range []struct {
		filter service.ControllerFilter
		want   []string
	}{
		{service.ControllerFilter{Limit: 10}, []string{"-", "B", "_", "a", "a-1", "a1", "aB", "b"}},
		{service.ControllerFilter{Limit: 2, AfterID: "B"}, []string{"_", "a"}},
		{service.ControllerFilter{Limit: 2, AfterID: "Z"}, []string{"_", "a"}},
		{service.ControllerFilter{Limit: 2, AfterID: "b"}, []string{}},
		{service.ControllerFilter{Limit: 10, Health: service.HealthDegraded, Region: "eu"}, []string{"b"}},
		{service.ControllerFilter{Limit: 1, Health: service.HealthPending, AfterID: "_"}, []string{"a"}},
		{service.ControllerFilter{Limit: 10, Region: "us"}, []string{}},
	} {
		found, err := f.Store.Controllers(t.Context(), tc.filter)
		if err != nil {
			t.Fatalf("Controllers(%+v) = %v", tc.filter, err)
		}

		got := []string{}
		for _, c := range found {
			got = append(got, c.ControllerID)
		}

		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("Controllers(%+v) (-want +got):\n%s", tc.filter, diff)
		}
	}

	found, err := f.Store.Controllers(t.Context(), service.ControllerFilter{AfterID: "aB", Limit: 1})
	for i := range found {
		found[i] = withoutAsOf(found[i])
	}

	if diff := cmp.Diff([]service.Controller{mustGet(t, f.Store, "b")}, found); err != nil || diff != "" {
		t.Errorf("Controllers() = %v (-Controller +Controllers):\n%s", err, diff)
	}
}

func testHistory(t *testing.T, f Fixture) {
	var want []service.Transition
	record := func(transition *service.Transition) {
		if transition != nil {
			stored := *transition
			stored.Silence = stored.Silence.Truncate(time.Millisecond)
			want = append(want, stored)
		}
	}

	record(mustRegister(t, f.Store, "mc"))
	for _, health := range []service.HealthStatus{
		service.HealthHealthy,
		service.HealthHealthy,
		service.HealthDegraded,
		service.HealthDraining,
		service.HealthUnhealthy,
	} {
		record(mustHeartbeat(t, f.Store, heartbeat("mc", health)).Transition)
	}

	record(mustRegister(t, f.Store, "mc"))
	record(mustRegister(t, f.Store, "mc"))
	f.SetLastHeartbeatAge(t, "mc", hour)
	f.SetCheckerAges(t, 0, hour, hour)
	for _, transition := range mustBeatAndSweep(t, f.Store, sweepPolicy).Transitions {
		record(&transition)
	}
	if len(want) != 7 {
		t.Errorf("%d transitions, want 7", len(want))
	}

	if diff := cmp.Diff(want, f.History(t)); diff != "" {
		t.Errorf("history (-returned +stored):\n%s", diff)
	}
}

// callAll calls each operation once.
func callAll(ctx context.Context, s Store) map[string]error {
	errs := map[string]error{}
	_, errs["Register"] = s.Register(ctx, registration("mc"), "client")
	_, errs["Heartbeat"] = s.Heartbeat(ctx, heartbeat("mc", service.HealthHealthy))
	_, errs["IsRegistered"] = s.IsRegistered(ctx, "mc")
	_, errs["Controller"] = s.Controller(ctx, "mc")
	_, errs["Controllers"] = s.Controllers(ctx, service.ControllerFilter{Limit: 1})
	_, errs["Beat"] = s.Beat(ctx, replicaBeat(testReplica))
	_, errs["Sweep"] = s.Sweep(ctx, sweepPolicy)
	_, errs["Regions"] = s.Regions(ctx)
	return errs
}

func testEndedContext(t *testing.T, f Fixture) {
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	for _, tc := range []struct {
		ctx  context.Context
		want error
	}{{canceled, context.Canceled}, {late, context.DeadlineExceeded}} {
		for operation, err := range callAll(tc.ctx, f.Store) {
			if !errors.Is(err, tc.want) || errors.Is(err, service.ErrUnavailable) {
				t.Errorf("%s = %v, want %v", operation, err, tc.want)
			}
		}
	}
}

func testClosedStore(t *testing.T, f Fixture) {
	f.Close(t)
	for operation, err := range callAll(t.Context(), f.Store) {
		wantUnavailable(t, operation, err)
	}
}
