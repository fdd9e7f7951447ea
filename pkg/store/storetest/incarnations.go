package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"darktower.example/global-controller/service"
)

func registrationAs(id, incarnation string) service.Registration {
	r := registration(id)
	r.Incarnation = incarnation
	return r
}

func heartbeatAs(id, incarnation string, meetings int64) service.HeartbeatWrite {
	h := heartbeat(id, service.HealthHealthy)
	h.Incarnation, h.CurrentMeetings = incarnation, meetings
	return h
}

func mustRegisterAs(t *testing.T, s Store, id, incarnation string) service.RegisterResult {
	t.Helper()
	result, err := s.Register(t.Context(), registrationAs(id, incarnation), "client")
	if err != nil {
		t.Fatalf("Register(%s as %q) = %v", id, incarnation, err)
	}
	return result
}

func wantSuperseded(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, service.ErrSuperseded) {
		t.Errorf("%s = %v, want ErrSuperseded", what, err)
	}
}

func testSameIncarnation(t *testing.T, f Fixture) {
	mustRegisterAs(t, f.Store, "mc", "one")
	mustHeartbeat(t, f.Store, heartbeatAs("mc", "one", 7))
	before := mustGet(t, f.Store, "mc")
	if got := mustRegisterAs(t, f.Store, "mc", "one"); got.Transition != nil {
		t.Errorf("registering again = %+v, want no transition", got.Transition)
	}
	after := mustGet(t, f.Store, "mc")
	if after.Health != service.HealthHealthy || after.CurrentMeetings != 7 || after.Incarnation != "one" {
		t.Errorf("after registering again = %+v, want it healthy with 7 meetings and the same incarnation", after)
	}
	if after.LastHeartbeatAt.Before(before.LastHeartbeatAt) {
		t.Errorf("last heartbeat at %v, want it not before %v", after.LastHeartbeatAt, before.LastHeartbeatAt)
	}
}

func testNewIncarnation(t *testing.T, f Fixture) {
	mustRegisterAs(t, f.Store, "mc", "one")
	mustHeartbeat(t, f.Store, heartbeatAs("mc", "one", 7))
	if got := mustRegisterAs(t, f.Store, "mc", "two"); got.Transition == nil || got.Transition.To != service.HealthPending {
		t.Errorf("another incarnation = %+v, want pending", got.Transition)
	}
	mustHeartbeat(t, f.Store, heartbeatAs("mc", "two", 1))
	before := mustGet(t, f.Store, "mc")
	_, err := f.Store.Heartbeat(t.Context(), heartbeatAs("mc", "one", 9))
	wantSuperseded(t, "heartbeat of the old incarnation", err)

	_, err = f.Store.Register(t.Context(), registrationAs("mc", "one"), "client")
	wantSuperseded(t, "registration of the old incarnation", err)
	if diff := cmp.Diff(before, mustGet(t, f.Store, "mc")); diff != "" {
		t.Errorf("refused calls changed the controller (-before +after):\n%s", diff)
	}

	// A call without an incarnation is not compared, and succeeds as before.
	mustHeartbeat(t, f.Store, heartbeatAs("mc", "", 5))
	if c := mustGet(t, f.Store, "mc"); c.CurrentMeetings != 5 || c.Incarnation != "two" {
		t.Errorf("a heartbeat without incarnation left %+v, want 5 meetings", c)
	}
	mustRegister(t, f.Store, "mc")
	if c := mustGet(t, f.Store, "mc"); c.Health != service.HealthPending || c.Incarnation != "two" {
		t.Errorf("a registration without incarnation left %+v, want pending and the second incarnation", c)
	}
	mustHeartbeat(t, f.Store, heartbeatAs("mc", "two", 6))

	// The store remembers several earlier incarnations.
	for i := range 3 {
		mustRegisterAs(t, f.Store, "mc", fmt.Sprintf("more-%d", i))
	}
	for _, old := range []string{"one", "two", "more-0", "more-1"} {
		_, err = f.Store.Register(t.Context(), registrationAs("mc", old), "client")
		if old == "one" && err == nil {
			t.Errorf("the incarnation before four others was accepted")
		}
		wantSuperseded(t, "registration of "+old, err)

		_, err = f.Store.Heartbeat(t.Context(), heartbeatAs("mc", old, 9))
		wantSuperseded(t, "heartbeat of "+old, err)
	}
	if _, err = f.Store.Heartbeat(t.Context(), heartbeatAs("unknown", "one", 1)); !errors.Is(err, service.ErrNotRegistered) {
		t.Errorf("heartbeat of an unknown controller = %v, want ErrNotRegistered", err)
	}
}

// testIncarnationsInOneBatch sends heartbeats of two incarnations, and without one, for the same controllers at the same time.
func testIncarnationsInOneBatch(t *testing.T, f Fixture) {
	const controllers, heartbeatsEach = 10, 20
	for i := range controllers {
		mustRegisterAs(t, f.Store, fmt.Sprintf("mc-%d", i), "old")
		mustRegisterAs(t, f.Store, fmt.Sprintf("mc-%d", i), "new")
	}

	var all sync.WaitGroup
	for i := range controllers {
		id := fmt.Sprintf("mc-%d", i)
		for _, incarnation := range []string{"old", "new", ""} {
			all.Go(func() {
				for n := range heartbeatsEach {
					_, err := f.Store.Heartbeat(t.Context(), heartbeatAs(id, incarnation, int64(n)))
					if incarnation == "old" {
						wantSuperseded(t, "heartbeat of the old incarnation", err)
					} else if err != nil {
						t.Errorf("heartbeat of %q = %v", incarnation, err)
					}
				}
			})
		}
	}

	all.Wait()
	for i := range controllers {
		if c := mustGet(t, f.Store, fmt.Sprintf("mc-%d", i)); c.Incarnation != "new" {
			t.Errorf("%s is %q, want new", c.ControllerID, c.Incarnation)
		}
	}
}

func testConflicts(t *testing.T, f Fixture) {
	mustRegister(t, f.Store, "mc")
	if c := mustGet(t, f.Store, "mc"); c.IncarnationConflicts != 0 || c.LastConflictAt != nil {
		t.Errorf("conflicts of a new controller = %d at %v, want none", c.IncarnationConflicts, c.LastConflictAt)
	}
	before := mustGet(t, f.Store, "mc")
	for range 3 {
		f.Store.RecordConflict("mc")
	}
	f.Store.RecordConflict("unknown")
	mustWriteConflicts(t, f.Store)
	c := mustGet(t, f.Store, "mc")
	isRecent := c.LastConflictAt != nil && !c.LastConflictAt.Before(before.CreatedAt)
	if c.IncarnationConflicts != 3 || !isRecent || !c.UpdatedAt.Equal(before.UpdatedAt) {
		t.Errorf("controller = %+v, want 3 conflicts and no other change", c)
	}
}

func mustWriteConflicts(t *testing.T, s Store) {
	t.Helper()
	if err := s.WriteConflicts(t.Context()); err != nil {
		t.Fatalf("WriteConflicts() = %v", err)
	}
}

// writeConflictsWithRetry writes the conflicts as the Global Controller does: a write that fails is repeated. SQLite's lock is not fair, so
// on a slow disk one of two writers may wait for longer than the store's timeout.
func writeConflictsWithRetry(t *testing.T, s Store) {
	t.Helper()
	deadline := time.Now().Add(waitTimeout)
	for {
		err := s.WriteConflicts(t.Context())
		if err == nil {
			return
		}
		if !errors.Is(err, service.ErrUnavailable) || time.Now().After(deadline) {
			t.Errorf("WriteConflicts() = %v", err)
			return
		}
	}
}

// testConcurrentConflicts makes two replicas write the conflicts of many controllers at the same time. A store that closes writes the
// conflicts that it has recorded.
func testConcurrentConflicts(t *testing.T, f Fixture) {
	const controllers, rounds = 450, 3
	for i := range controllers {
		mustRegister(t, f.Store, fmt.Sprintf("mc-%04d", i))
	}
	replica := f.OpenReplica(t)

	var all sync.WaitGroup
	for _, s := range []Store{f.Store, replica} {
		all.Go(func() {
			for range rounds {
				for i := range controllers {
					s.RecordConflict(fmt.Sprintf("mc-%04d", i))
				}
				writeConflictsWithRetry(t, s)
			}
		})
	}
	all.Wait()
	f.Store.RecordConflict("mc-0000")
	f.Close(t)

	for _, want := range []struct {
		id        string
		conflicts int64
	}{{"mc-0000", 2*rounds + 1}, {"mc-0333", 2 * rounds}, {"mc-0449", 2 * rounds}} {
		if c := mustGet(t, replica, want.id); c.IncarnationConflicts != want.conflicts {
			t.Errorf("conflicts of %s = %d, want %d", want.id, c.IncarnationConflicts, want.conflicts)
		}
	}
}
