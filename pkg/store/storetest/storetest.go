// Package storetest is what every implementation of the service's storage promises, as tests: PostgreSQL and SQLite run
// them, and so may a fake.
package storetest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"darktower.example/global-controller/service"
)

// Store is all that the service, its health checker, its metrics and its watches need.
type Store interface {
	service.Store
	service.ReplicaStore
	service.Sweeper
	service.RegionReader
	service.ChangeSource
	service.Pruner
	// WriteConflicts writes the conflicts that were recorded.
	WriteConflicts(ctx context.Context) error
}

// Fixture is an empty storage of one test, and hands that reach past the Store into it.
type Fixture struct {
	Store Store
	// Replica opens the same storage once more, as another Global Controller does.
	OpenReplica func(t *testing.T) Store
	// Close closes Store.
	Close func(t *testing.T)
	// Silence moves a controller's last heartbeat so that it lies by in the past, in the future when by is negative;
	// an empty id stands for every controller.
	SetLastHeartbeatAge func(t *testing.T, controllerID string, by time.Duration)
	// Checker sets how long ago the last beat, the begin of service and the last sweep were.
	SetCheckerAges func(t *testing.T, beat, serviceable, swept time.Duration)
	// ServiceableFor sets how long heartbeats have been committed since the last gap.
	SetServiceableFor func(t *testing.T, by time.Duration)
	// ReplicaWith opens the same storage once more, with other settings.
	OpenReplicaWith func(t *testing.T, fast, threshold time.Duration) Store
	// Seen sets how long ago a replica's last beat was.
	SetReplicaSeenAge func(t *testing.T, replicaID string, by time.Duration)
	// FailedHeartbeat sets how long ago a heartbeat of a controller could not be stored.
	SetFailedHeartbeatAge func(t *testing.T, controllerID string, by time.Duration)
	// Drain sets the operator's intent, and the public state that follows.
	SetDraining func(t *testing.T, controllerID string)
	// Delete removes a controller's row by hand.
	DeleteRow func(t *testing.T, controllerID string)
	// Age has the changes of public state with ids up to through lie by in the past.
	SetTransitionsAge func(t *testing.T, through int64, by time.Duration)
	// Forget removes the changes of public state with ids of this one or higher, and has the next one get this id again, as
	// a restored backup does.
	RewindHistory func(t *testing.T, from int64)
	// Lose removes one change of public state, as if its transaction had been undone.
	DeleteTransition func(t *testing.T, id int64)
	// History is every change of public state, the oldest first.
	History func(t *testing.T) []service.Transition
}

// Run runs the suite; open is called once a test, from parallel tests.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	for _, tc := range []struct {
		name string
		test func(t *testing.T, f Fixture)
	}{
		{"Register_ThenHeartbeat", testRegisterAndHeartbeat},
		{"Register_AgainKeepsLoadAndCreation", testRegisterAgain},
		{"Heartbeat_WithoutUsageKeepsUsage", testFastHeartbeatKeepsUsage},
		{"Controller_NotRegistered", testUnknownControllers},
		{"Heartbeat_KeepsOperatorDrain", testDrainOutlastsHeartbeats},
		{"Heartbeat_ClearsStaleness", testHeartbeatClearsStaleness},
		{"Controllers_BytewiseOrderAndPages", testListing},
		{"Regions", testRegions},
		{"History_HasEveryTransition", testHistory},
		{"Store_EndedContext", testEndedContext},
		{"Store_Closed", testClosedStore},
		{"Register_ConcurrentFirstIsOneTransition", testConcurrentFirstRegistrations},
		{"History_ConcurrentWriters", testConcurrentWriters},
		{"Heartbeat_Burst", testBurstOfHeartbeats},
		{"Heartbeat_InvalidOneInBatch", testInvalidHeartbeatInBatch},
		{"Heartbeat_ConcurrentReplicas", testConcurrentReplicas},
		{"Beat_Gap", testBeats},
		{"Replicas_Listed", testReplicas},
		{"Sweep_HoldsAtFirstBeat", testHoldAtFirstBeat},
		{"Sweep_MarksStaleOnly", testSweepMarksStaleOnly},
		{"Sweep_WithoutChangesWritesNothing", testSweepWithoutChanges},
		{"Sweep_ManyControllers", testSweepManyControllers},
		{"Sweep_WithoutRecentBeat", testSweepWithoutRecentBeat},
		{"Sweep_FailedHeartbeatsCount", testFailedHeartbeats},
		{"Sweep_LaxestPolicy", testLaxestPolicy},
		{"Sweep_LaxestPolicyAfterRestart", testLaxestPolicyAfterRestart},
		{"Sweep_LaxestPolicyAfterOutage", testLaxestPolicyAfterOutage},
		{"Sweep_AcknowledgedPolicy", testAcknowledgedPolicy},
		{"Sweep_ReasonIsMeasured", testSweepReason},
		{"Sweep_StalenessWhileDraining", testStalenessWhileDraining},
		{"Sweep_HoldsAfterGap", testHoldAfterGap},
		{"Beat_NoGapWithinTolerance", testNoGapWithinTolerance},
		{"Sweep_Interval", testSweepInterval},
		{"Sweep_OncePerIntervalAcrossReplicas", testOneSweepAcrossReplicas},
		{"Sweep_SafetyAndLiveness", testSafetyAndLiveness},
		{"Incarnation_SameAgain", testSameIncarnation},
		{"Incarnation_NewSupersedesOld", testNewIncarnation},
		{"Incarnation_TwoInOneBatch", testIncarnationsInOneBatch},
		{"Conflicts_Counted", testConflicts},
		{"Conflicts_ConcurrentReplicas", testConcurrentConflicts},
		{"Owners", testOwners},
		{"Drain_OutlastsReports", testDrainOutlastsReports},
		{"Generation_Conflict", testGenerations},
		{"Generation_NeverRepeats", testGenerationsNeverRepeat},
		{"Undrain_RestoresReportedHealth", testUndrain},
		{"Drain_UnsafeNeedsForce", testUnsafeDrains},
		{"Drain_ConcurrentInRegion", testConcurrentDrains},
		{"Deregister", testDeregister},
		{"History_OrderAndPages", testHistoryPages},
		{"Changes", testChanges},
		{"ControllersByID", testControllersByID},
		{"ControllersUpdated", testControllersUpdated},
		{"Listen_AnnouncesCommits", testAnnouncements},
		{"History_ByTimeAndNewestFirst", testHistoryByTime},
		{"History_AfterClockSetBack", testHistoryAfterClockWasSetBack},
		{"History_ByTimeAfterClockSetBack", testHistoryByTimeWithSetClock},
		{"Cursor_OfOtherHistory", testCursors},
		{"Cursor_OfEmptyHistory", testCursorsOfEmptyHistory},
		{"Cursor_AfterPruning", testCursorsAfterPruning},
		{"Drain_Deadline", testDeadlines},
		{"Prune_OldHistory", testPruning},
		{"Prune_ReadsAfterwards", testReadsAfterPruning},
		{"Prune_RetiresLongStale", testRetirement},
		{"Prune_OneReplicaAtATime", testOnePruner},
		{"Sweep_ReasonHasRefusals", testSweepReasonRefusals},
		{"Beat_Time", testBeatTime},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.test(t, open(t))
		})
	}
}

// hour stands for long enough that nothing of it is left over.
const hour = time.Hour

func registration(id string) service.Registration {
	return service.Registration{ControllerID: id, Region: "eu", GRPCEndpoint: "http://" + strings.ToLower(id), MaxMeetings: 10, MaxParticipants: 100}
}

func heartbeat(id string, health service.HealthStatus) service.HeartbeatWrite {
	return service.HeartbeatWrite{ControllerID: id, CurrentMeetings: 3, CurrentParticipants: 4, Reported: health, Actor: "client"}
}

func mustRegister(t *testing.T, s Store, id string) *service.Transition {
	t.Helper()
	result, err := s.Register(t.Context(), registration(id), "client")
	if err != nil {
		t.Fatalf("Register(%s) = %v", id, err)
	}
	return result.Transition
}

func mustHeartbeat(t *testing.T, s Store, h service.HeartbeatWrite) service.HeartbeatResult {
	t.Helper()
	result, err := s.Heartbeat(t.Context(), h)
	if err != nil {
		t.Fatalf("Heartbeat(%s) = %v", h.ControllerID, err)
	}
	return result
}

func mustGet(t *testing.T, s Store, id string) service.Controller {
	t.Helper()
	c, err := s.Controller(t.Context(), id)
	if err != nil {
		t.Fatalf("Controller(%s) = %v", id, err)
	}
	if c.AsOf.IsZero() {
		t.Errorf("Controller(%s) does not say when it was so", id)
	}
	return withoutAsOf(c)
}

// timeless is a controller without the time at which it was looked at.
func withoutAsOf(c service.Controller) service.Controller {
	c.AsOf = time.Time{}
	return c
}

// ticked is what a beat and the sweep after it found.
type beatAndSweepResult struct {
	service.SweepResult
	Gap bool
}

// tick beats and sweeps once, as a replica does that has the settings of the policy.
func beatAndSweep(ctx context.Context, s Store, policy service.SweepPolicy) (result beatAndSweepResult, _ error) {
	beat, err := s.Beat(ctx, service.Beat{
		Replica:             service.Replica{ID: policy.Actor, StalenessThreshold: policy.Threshold, FastInterval: policy.FastInterval},
		CanAcceptHeartbeats: true,
		Tolerance:           policy.Tolerance,
	})
	if err != nil {
		return result, err
	}
	sweep, err := s.Sweep(ctx, policy)
	return beatAndSweepResult{sweep, beat.Gap}, err
}

func mustBeatAndSweep(t *testing.T, s Store, policy service.SweepPolicy) beatAndSweepResult {
	t.Helper()
	result, err := beatAndSweep(t.Context(), s, policy)
	if err != nil {
		t.Fatalf("tick() = %v", err)
	}
	return result
}

func wantUnavailable(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, service.ErrUnavailable) {
		t.Errorf("%s = %v, want ErrUnavailable", what, err)
	}
}
