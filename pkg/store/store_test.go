package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"darktower.example/global-controller/internal/testpg"
	"darktower.example/global-controller/service"
)

// onBoth runs a test over both databases: what one promises, the other keeps.
func onBoth(t *testing.T, test func(t *testing.T, address string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, "sqlite:"+filepath.Join(t.TempDir(), "data", "gc.db"))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, testpg.URL(t))
	})
}

func open(t *testing.T, address string) *Store {
	t.Helper()
	s, err := Open(address)
	if err != nil {
		t.Fatalf("Open() = %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatalf("Migrate() = %v", err)
	}
	return s
}

func registration(id string) service.Registration {
	return service.Registration{ControllerID: id, Region: "eu", GRPCEndpoint: "http://" + id, MaxMeetings: 10, MaxParticipants: 100}
}

func mustRegister(t *testing.T, s *Store, id string) *service.Transition {
	t.Helper()
	transition, err := s.Register(t.Context(), registration(id), "client")
	if err != nil {
		t.Fatalf("Register(%s) = %v", id, err)
	}
	return transition
}

func mustBeat(t *testing.T, s *Store, id string, health service.HealthStatus) service.HeartbeatResult {
	t.Helper()
	result, err := s.Heartbeat(t.Context(), service.HeartbeatWrite{ControllerID: id, CurrentMeetings: 3, CurrentParticipants: 4, Reported: health, Actor: "client"})
	if err != nil {
		t.Fatalf("Heartbeat(%s) = %v", id, err)
	}
	return result
}

func mustGet(t *testing.T, s *Store, id string) service.Controller {
	t.Helper()
	c, err := s.Controller(t.Context(), id)
	if err != nil {
		t.Fatalf("Controller(%s) = %v", id, err)
	}
	return c
}

func (s *Store) exec(t *testing.T, statement string, values ...any) {
	t.Helper()
	if _, err := s.write.ExecContext(t.Context(), s.write.Rebind(statement), values...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// age moves a controller's last heartbeat into the past.
func (s *Store) age(t *testing.T, id string, by time.Duration) {
	t.Helper()
	s.exec(t, `UPDATE meeting_controllers SET last_heartbeat_at = ? WHERE controller_id = ?`, s.dialect.bind(time.Now().Add(-by)), id)
}

// serve makes the store one that has been in service without a gap for as long as said, swept long ago.
func (s *Store) serve(t *testing.T, since time.Duration) {
	t.Helper()
	s.exec(t, `UPDATE checker_state SET beat_at = ?, serviceable_since = ?, swept_at = ?`,
		s.dialect.bind(time.Now()), s.dialect.bind(time.Now().Add(-since)), s.dialect.bind(time.Now().Add(-since)))
}

func TestRegisterAndHeartbeat(t *testing.T) {
	onBoth(t, func(t *testing.T, address string) {
		s := open(t, address)
		first := mustRegister(t, s, "mc-1")
		if first == nil || first.From != "" || first.To != service.HealthPending || first.Cause != service.CauseRegister || first.Actor != "client" {
			t.Errorf("first registration = %+v, want nothing to pending", first)
		}
		beat := mustBeat(t, s, "mc-1", service.HealthHealthy)
		if beat.Transition == nil || beat.Transition.From != service.HealthPending || beat.Transition.To != service.HealthHealthy {
			t.Errorf("first heartbeat = %+v, want pending to healthy", beat.Transition)
		}
		if again := mustBeat(t, s, "mc-1", service.HealthHealthy); again.Transition != nil {
			t.Errorf("a heartbeat that changes nothing = %+v, want nil", again.Transition)
		}
		if _, err := s.Heartbeat(t.Context(), service.HeartbeatWrite{
			ControllerID: "mc-1", CurrentMeetings: 5, Reported: service.HealthHealthy, Usage: &service.Usage{CPUPercent: 12.5, MemoryPercent: 50},
		}); err != nil {
			t.Fatalf("Heartbeat() = %v", err)
		}
		before := mustGet(t, s, "mc-1")
		if before.CPUUsagePercent == nil || *before.CPUUsagePercent != 12.5 || *before.MemoryUsagePercent != 50 || before.CurrentMeetings != 5 {
			t.Errorf("stored = %+v, want what the heartbeat said", before)
		}
		renewed := registration("mc-1")
		renewed.Region, renewed.MaxMeetings, renewed.WebTransportEndpoint = "us", 20, "https://wt"
		change, err := s.Register(t.Context(), renewed, "client")
		if err != nil || change == nil || change.From != service.HealthHealthy || change.To != service.HealthPending {
			t.Fatalf("Register(again) = %+v, %v, want healthy to pending", change, err)
		}
		got := mustGet(t, s, "mc-1")
		want := before
		want.Region, want.MaxMeetings, want.WebTransportEndpoint = "us", 20, "https://wt"
		want.Health, want.Facts.Reported = service.HealthPending, service.HealthPending
		want.LastHeartbeatAt, want.UpdatedAt = got.LastHeartbeatAt, got.UpdatedAt
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("after registering again (-want +got):\n%s", diff)
		}
		if got.LastHeartbeatAt.Before(before.LastHeartbeatAt) || got.UpdatedAt.Before(before.UpdatedAt) {
			t.Errorf("times went back: %+v after %+v", got, before)
		}
	})
}

func TestUnknownControllers(t *testing.T) {
	onBoth(t, func(t *testing.T, address string) {
		s := open(t, address)
		if _, err := s.Heartbeat(t.Context(), service.HeartbeatWrite{ControllerID: "x", Reported: service.HealthHealthy}); !errors.Is(err, service.ErrNotRegistered) {
			t.Errorf("Heartbeat(unknown) = %v, want ErrNotRegistered", err)
		}
		if _, err := s.Controller(t.Context(), "x"); !errors.Is(err, service.ErrNotRegistered) {
			t.Errorf("Controller(unknown) = %v, want ErrNotRegistered", err)
		}
		mustRegister(t, s, "mc")
		for id, want := range map[string]bool{"x": false, "mc": true} {
			if got, err := s.Known(t.Context(), id); err != nil || got != want {
				t.Errorf("Known(%s) = %v, %v, want %v", id, got, err, want)
			}
		}
	})
}

func TestAnOperatorsDrainIsNotUndone(t *testing.T) {
	onBoth(t, func(t *testing.T, address string) {
		s := open(t, address)
		mustRegister(t, s, "mc")
		s.exec(t, `UPDATE meeting_controllers SET operator_draining = true, health_status = 'draining'`)
		mustBeat(t, s, "mc", service.HealthHealthy)
		if change := mustRegister(t, s, "mc"); change != nil {
			t.Errorf("registering again changed the state: %+v", change)
		}
		if got := mustGet(t, s, "mc"); got.Health != service.HealthDraining || !got.Facts.OperatorDraining {
			t.Errorf("state = %s, want draining", got.Health)
		}
	})
}

func TestConcurrentFirstRegistrationsAreOneChange(t *testing.T) {
	onBoth(t, func(t *testing.T, address string) {
		s := open(t, address)
		var (
			mu  sync.Mutex
			new int
			all sync.WaitGroup
		)
		for range 16 {
			all.Go(func() {
				change, err := s.Register(t.Context(), registration("mc"), "client")
				if err != nil {
					t.Errorf("Register() = %v", err)
				}
				mu.Lock()
				defer mu.Unlock()
				if change != nil {
					new++
				}
			})
		}
		all.Wait()
		if new != 1 {
			t.Errorf("changes = %d, want 1", new)
		}
	})
}

func TestListing(t *testing.T) {
	onBoth(t, func(t *testing.T, address string) {
		s := open(t, address)
		for _, id := range []string{"b", "a", "_", "B", "-"} {
			mustRegister(t, s, id)
		}
		mustBeat(t, s, "b", service.HealthDegraded)
		ids := func(filter service.ControllerFilter) []string {
			found, err := s.Controllers(t.Context(), filter)
			if err != nil {
				t.Fatalf("Controllers(%+v) = %v", filter, err)
			}
			ids := []string{}
			for _, c := range found {
				ids = append(ids, c.ControllerID)
			}
			return ids
		}
		for _, tc := range []struct {
			filter service.ControllerFilter
			want   []string
		}{
			{service.ControllerFilter{Limit: 10}, []string{"-", "B", "_", "a", "b"}},
			{service.ControllerFilter{Limit: 2, AfterID: "B"}, []string{"_", "a"}},
			{service.ControllerFilter{Limit: 10, Health: service.HealthDegraded, Region: "eu"}, []string{"b"}},
			{service.ControllerFilter{Limit: 10, Region: "us"}, []string{}},
		} {
			if diff := cmp.Diff(tc.want, ids(tc.filter)); diff != "" {
				t.Errorf("Controllers(%+v) (-want +got):\n%s", tc.filter, diff)
			}
		}
		summary, err := s.Summary(t.Context())
		want := []service.RegionSummary{{Region: "eu", Health: service.HealthDegraded, Controllers: 1, MaxMeetings: 10, CurrentMeetings: 3}, {Region: "eu", Health: service.HealthPending, Controllers: 4, MaxMeetings: 40}}
		if diff := cmp.Diff(want, summary); err != nil || diff != "" {
			t.Errorf("Summary() = %v, (-want +got):\n%s", err, diff)
		}
	})
}

var testPolicy = service.SweepPolicy{Threshold: 30 * time.Second, Interval: 5 * time.Second, Tolerance: 2 * time.Second, Actor: "gc-1"}

func mustTick(t *testing.T, s *Store) service.SweepResult {
	t.Helper()
	result, err := s.Tick(t.Context(), testPolicy)
	if err != nil {
		t.Fatalf("Tick() = %v", err)
	}
	return result
}

func TestTheFirstTickHolds(t *testing.T) {
	onBoth(t, func(t *testing.T, address string) {
		s := open(t, address)
		mustRegister(t, s, "mc")
		s.age(t, "mc", time.Hour)
		if got := mustTick(t, s); !got.Gap || !got.Hold || len(got.Transitions) != 0 {
			t.Errorf("first tick = %+v, want a gap and a hold", got)
		}
		if got := mustTick(t, s); got.Gap || !got.Hold || got.Swept || got.NextIn <= 0 {
			t.Errorf("second tick = %+v, want a hold and no sweep yet", got)
		}
	})
}

func TestASweepMarksTheSilentAndNobodyElse(t *testing.T) {
	onBoth(t, func(t *testing.T, address string) {
		s := open(t, address)
		for _, id := range []string{"alive", "dead", "draining", "future"} {
			mustRegister(t, s, id)
			mustBeat(t, s, id, service.HealthHealthy)
		}
		mustTick(t, s)
		s.exec(t, `UPDATE meeting_controllers SET operator_draining = true, health_status = 'draining' WHERE controller_id = 'draining'`)
		s.age(t, "alive", 29*time.Second)
		s.age(t, "dead", 31*time.Second)
		s.age(t, "draining", 31*time.Second)
		s.age(t, "future", -time.Hour)
		s.serve(t, time.Minute)
		got := mustTick(t, s)
		if got.Hold || !got.Swept || len(got.Transitions) != 2 {
			t.Fatalf("tick = %+v, want two changes", got)
		}
		dead := got.Transitions[0]
		if dead.ControllerID != "dead" || dead.From != service.HealthHealthy || dead.To != service.HealthUnhealthy || dead.Cause != service.CauseStale ||
			dead.Actor != "gc-1" || dead.Silence < 31*time.Second {
			t.Errorf("change = %+v, want dead from healthy to unhealthy", dead)
		}
		for id, want := range map[string]service.Controller{
			"alive": {Health: service.HealthHealthy}, "dead": {Health: service.HealthUnhealthy, Facts: service.Facts{Stale: true}},
			"draining": {Health: service.HealthDraining, Facts: service.Facts{Stale: true}}, "future": {Health: service.HealthUnhealthy, Facts: service.Facts{Stale: true}},
		} {
			if c := mustGet(t, s, id); c.Health != want.Health || c.Facts.Stale != want.Facts.Stale {
				t.Errorf("%s = %s, stale %v, want %s, %v", id, c.Health, c.Facts.Stale, want.Health, want.Facts.Stale)
			}
		}
		if again := mustTick(t, s); again.Swept {
			t.Errorf("the next tick swept again: %+v", again)
		}
		if back := mustBeat(t, s, "dead", service.HealthHealthy); back.Transition == nil || back.Transition.To != service.HealthHealthy {
			t.Errorf("a heartbeat after that = %+v, want healthy", back.Transition)
		}
	})
}

func TestAGapIsWaitedOut(t *testing.T) {
	onBoth(t, func(t *testing.T, address string) {
		s := open(t, address)
		mustRegister(t, s, "mc")
		mustTick(t, s)
		s.age(t, "mc", time.Hour)
		for _, beat := range []time.Duration{-time.Minute, time.Minute} { // an outage; a clock that was set back
			s.serve(t, time.Hour)
			s.exec(t, `UPDATE checker_state SET beat_at = ?`, s.dialect.bind(time.Now().Add(beat)))
			if got := mustTick(t, s); !got.Gap || !got.Hold || len(got.Transitions) != 0 {
				t.Errorf("tick after a gap of %v = %+v, want a hold", beat, got)
			}
		}
	})
}

func TestOneSweepAcrossReplicas(t *testing.T) {
	onBoth(t, func(t *testing.T, address string) {
		s := open(t, address)
		mustRegister(t, s, "mc")
		mustTick(t, s)
		s.age(t, "mc", time.Minute)
		s.serve(t, time.Hour)
		var (
			mu             sync.Mutex
			swept, changed int
			all            sync.WaitGroup
		)
		for range 8 {
			replica := open(t, address)
			all.Go(func() {
				result, err := replica.Tick(t.Context(), testPolicy)
				if err != nil {
					t.Errorf("Tick() = %v", err)
				}
				mu.Lock()
				defer mu.Unlock()
				changed += len(result.Transitions)
				if result.Swept {
					swept++
				}
			})
		}
		all.Wait()
		if swept != 1 || changed != 1 {
			t.Errorf("sweeps, changes = %d, %d, want one of each", swept, changed)
		}
	})
}

func TestTenReplicasMigrateAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, address string) {
		var all sync.WaitGroup
		for i := range 10 {
			s, err := Open(address)
			if err != nil {
				t.Fatalf("Open() = %v", err)
			}
			t.Cleanup(func() { _ = s.Close() })
			all.Go(func() {
				if err := s.Migrate(t.Context()); err != nil {
					t.Errorf("replica %d: Migrate() = %v", i, err)
				}
			})
		}
		all.Wait()
	})
}

func TestTroubleIsUnavailable(t *testing.T) {
	onBoth(t, func(t *testing.T, address string) {
		s := open(t, address)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Known(ended, "mc"); !errors.Is(err, context.Canceled) || errors.Is(err, service.ErrUnavailable) {
			t.Errorf("Known(ended context) = %v, want the context's error", err)
		}
		if err := s.Ping(t.Context()); err != nil {
			t.Errorf("Ping() = %v, want nil", err)
		}
		if err := s.Close(); err != nil {
			t.Fatalf("Close() = %v", err)
		}
		_, heartbeatErr := s.Heartbeat(t.Context(), service.HeartbeatWrite{ControllerID: "mc"})
		_, tickErr := s.Tick(t.Context(), testPolicy)
		for i, err := range []error{heartbeatErr, tickErr, s.Ping(t.Context())} {
			if !errors.Is(err, service.ErrUnavailable) {
				t.Errorf("call %d on a closed store = %v, want ErrUnavailable", i, err)
			}
		}
	})
	nobody := openOnly(t, "postgres://u:secret@127.0.0.1:1/x?sslmode=disable")
	if err := nobody.Ping(t.Context()); !errors.Is(err, service.ErrUnavailable) {
		t.Errorf("Ping(nobody there) = %v, want ErrUnavailable", err)
	}
}

func openOnly(t *testing.T, address string) *Store {
	t.Helper()
	s, err := Open(address)
	if err != nil {
		t.Fatalf("Open() = %v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestAddresses(t *testing.T) {
	for _, bad := range []string{"", "mysql://x", "sqlite:", "postgres://u:secret@h:port/x"} {
		_, err := Open(bad)
		if err == nil {
			t.Errorf("Open(%q) = nil, want an error", bad)
		} else if got := fmt.Sprint(err); cmp.Equal(got, bad) {
			t.Errorf("the error quotes the address: %v", err)
		}
	}
}
