// Package storetest is the test suite for implementations of the service's storage. PostgreSQL and SQLite pass it, and a fake may.
package storetest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"darktower.example/global-controller/service"
)

// Store is the storage of the service, its health checker, its metrics and its watches.
type Store interface {
	service.Store
	service.ReplicaStore
	service.Sweeper
	service.RegionReader
	service.ChangeSource
	service.Pruner
	service.AssignmentStore
	// WriteConflicts writes the recorded conflicts.
	WriteConflicts(ctx context.Context) error
}

// Fixture is an empty storage for one test, with functions that change it in ways that Store does not offer. Ages are relative to the
// storage's clock. A negative age is in the future.
type Fixture struct {
	Store Store
	// OpenReplica opens the same storage again, as another Global Controller does.
	OpenReplica func(t *testing.T) Store
	// OpenReplicaWith opens the same storage again with other settings.
	OpenReplicaWith func(t *testing.T, fastInterval, threshold time.Duration) Store
	// Close closes Store.
	Close func(t *testing.T)
	// SetLastHeartbeatAge sets the age of a controller's last heartbeat. An empty id stands for all controllers.
	SetLastHeartbeatAge func(t *testing.T, controllerID string, age time.Duration)
	// SetCheckerAges sets the ages of the last beat, of the begin of service, and of the last sweep.
	SetCheckerAges func(t *testing.T, beat, serviceable, swept time.Duration)
	// SetServiceableFor sets the time for which heartbeats have been committed since the last gap.
	SetServiceableFor func(t *testing.T, age time.Duration)
	// SetReplicaSeenAge sets the age of a replica's last beat.
	SetReplicaSeenAge func(t *testing.T, replicaID string, age time.Duration)
	// SetFailedHeartbeatAge sets the age of the last heartbeat of a controller that could not be stored.
	SetFailedHeartbeatAge func(t *testing.T, controllerID string, age time.Duration)
	// SetDraining sets the operator's intent, and the public state that follows from it.
	SetDraining func(t *testing.T, controllerID string)
	// DeleteRow deletes a controller's row by hand.
	DeleteRow func(t *testing.T, controllerID string)
	// SetTransitionsAge sets the age of the transitions with ids up to and including through.
	SetTransitionsAge func(t *testing.T, through int64, age time.Duration)
	// RewindHistory deletes the transitions with ids from from on, and gives the next transition this id, like the restore of a backup.
	RewindHistory func(t *testing.T, from int64)
	// DeleteTransition deletes one transition, like a rollback of its transaction.
	DeleteTransition func(t *testing.T, id int64)
	// History returns all transitions, oldest first.
	History func(t *testing.T) []service.Transition
}

// suite has the tests in the order of this list, with names of the form Subject_Condition.
var suite = []struct {
	name string
	test func(t *testing.T, f Fixture)
}{
	{"Register_PendingUntilHeartbeat", testRegisterAndHeartbeat},
	{"Register_AgainKeepsLoadAndCreation", testRegisterAgain},
	{"Heartbeat_WithoutUsageKeepsUsage", testFastHeartbeatKeepsUsage},
	{"Controller_EveryField", testEveryField},
	{"Controller_NotRegistered", testUnknownControllers},
	{"Heartbeat_KeepsOperatorDrain", testDrainOutlastsHeartbeats},
	{"Heartbeat_ClearsStaleness", testHeartbeatClearsStaleness},
	{"Controllers_BytewiseOrderAndPages", testListing},
	{"Regions_TotalsByState", testRegions},
	{"History_HasEveryTransition", testHistory},
	{"Store_EndedContextIsNotUnavailable", testEndedContext},
	{"Store_ClosedIsUnavailable", testClosedStore},
	{"Register_ConcurrentFirstIsOneTransition", testConcurrentFirstRegistrations},
	{"History_ConcurrentWritersFormOneChain", testConcurrentWriters},
	{"Heartbeat_BurstGetsOwnResults", testBurstOfHeartbeats},
	{"Heartbeat_InvalidFailsAlone", testInvalidHeartbeatInBatch},
	{"Heartbeat_ConcurrentReplicasFormOneChain", testConcurrentReplicas},
	{"Beat_GapAfterTolerance", testBeats},
	{"Replicas_SettingsAndTimes", testReplicas},
	{"Sweep_HoldsAtFirstBeat", testHoldAtFirstBeat},
	{"Sweep_MarksStaleOnly", testSweepMarksStaleOnly},
	{"Sweep_WithoutChangesWritesNothing", testSweepWithoutChanges},
	{"Sweep_ManyControllers", testSweepManyControllers},
	{"Sweep_HoldsWithoutRecentBeat", testSweepWithoutRecentBeat},
	{"Sweep_FailedHeartbeatPreventsMark", testFailedHeartbeats},
	{"Sweep_LongestThreshold", testLongestThreshold},
	{"Sweep_LongestThresholdAfterRestart", testLongestThresholdAfterRestart},
	{"Sweep_LongestThresholdAfterOutage", testLongestThresholdAfterOutage},
	{"Sweep_ThresholdOfLastResponse", testThresholdOfLastResponse},
	{"Sweep_ReasonHasMeasuredSilence", testSweepReason},
	{"Sweep_RecordsStalenessWhileDraining", testStalenessWhileDraining},
	{"Sweep_HoldsAfterGap", testHoldAfterGap},
	{"Beat_NoGapWithinTolerance", testNoGapWithinTolerance},
	{"Sweep_DueAfterInterval", testSweepInterval},
	{"Sweep_OncePerIntervalAcrossReplicas", testOneSweepAcrossReplicas},
	{"Sweep_MarksOnlyStoppedInRealTime", testMarksOnlyStopped},
	{"Incarnation_SameKeepsState", testSameIncarnation},
	{"Incarnation_NewSupersedesOld", testNewIncarnation},
	{"Incarnation_OldRefusedInSharedBatch", testIncarnationsInOneBatch},
	{"Conflicts_Counted", testConflicts},
	{"Conflicts_ConcurrentReplicasAddUp", testConcurrentConflicts},
	{"CountOwned_BySubject", testOwners},
	{"Drain_OutlastsReports", testDrainOutlastsReports},
	{"Generation_OutdatedIsConflict", testGenerations},
	{"Generation_NeverRepeats", testGenerationsNeverRepeat},
	{"Undrain_RestoresReportedHealth", testUndrain},
	{"Drain_UnsafeNeedsForce", testUnsafeDrains},
	{"Drain_OneOfConcurrentInRegion", testConcurrentDrains},
	{"Deregister_ByItselfAndByOperator", testDeregister},
	{"History_OrderAndPages", testHistoryPages},
	{"Changes_PagesAndMissingIDs", testChanges},
	{"ControllersByID_RegisteredOnly", testControllersByID},
	{"ControllersUpdated_SinceTime", testControllersUpdated},
	{"Listen_AnnouncesCommits", testAnnouncements},
	{"History_ByTimeAndNewestFirst", testHistoryByTime},
	{"History_AfterClockSetBack", testHistoryAfterClockWasSetBack},
	{"History_ByTimeAfterClockSetBack", testHistoryByTimeWithSetClock},
	{"Cursor_OfOtherHistoryIsGone", testCursors},
	{"Cursor_OfEmptyHistory", testCursorsOfEmptyHistory},
	{"Cursor_InUseOutlivesPruning", testCursorsAfterPruning},
	{"Drain_PastDeadlineUntilEmpty", testDeadlines},
	{"Prune_DeletesOldHistory", testPruning},
	{"Prune_DelaysNoReads", testReadsAfterPruning},
	{"Prune_RetiresLongStale", testRetirement},
	{"Prune_OneReplicaAtATime", testOnePruner},
	{"Sweep_ReasonHasRefusals", testSweepReasonRefusals},
	{"Beat_HasStorageTime", testBeatTime},
	{"Assignment_ReserveAndConfirm", testReserveAndConfirm},
	{"Assignment_OneWinner", testOneReservationWins},
	{"Assignment_Eligibility", testAssignmentEligibility},
	{"Assignment_Expires", testReservationExpires},
	{"Assignment_MovesFromLostController", testAssignmentOfStaleController},
	{"Assignment_End", testEndAssignment},
	{"Assignment_List", testListAssignments},
	{"Assignment_Loads", testAssignedLoads},
}

// Run runs the suite. It calls open once for each test. The tests run in parallel.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	for _, tc := range suite {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.test(t, open(t))
		})
	}
}

// hour is longer than every interval, threshold and tolerance of the tests.
const hour = time.Hour

func registration(id string) service.Registration {
	return service.Registration{
		ControllerID:    id,
		Region:          "eu",
		GRPCEndpoint:    "http://" + strings.ToLower(id),
		MaxMeetings:     10,
		MaxParticipants: 100,
	}
}

func heartbeat(id string, health service.HealthStatus) service.HeartbeatWrite {
	return service.HeartbeatWrite{
		ControllerID:        id,
		CurrentMeetings:     3,
		CurrentParticipants: 4,
		Reported:            health,
		Actor:               "client",
	}
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
		t.Errorf("Controller(%s) has no AsOf", id)
	}
	return withoutAsOf(c)
}

// withoutAsOf returns a controller without the time of the read.
func withoutAsOf(c service.Controller) service.Controller {
	c.AsOf = time.Time{}
	return c
}

// beatAndSweepResult is the result of a beat and of the sweep after it.
type beatAndSweepResult struct {
	service.SweepResult
	Gap bool
}

// beatAndSweep beats and sweeps once, like a replica with the settings of the policy.
func beatAndSweep(ctx context.Context, s Store, policy service.SweepPolicy) (beatAndSweepResult, error) {
	beat, err := s.Beat(ctx, service.Beat{
		Replica:   service.Replica{ID: policy.Actor, StalenessThreshold: policy.Threshold, FastInterval: policy.FastInterval},
		Vouches:   true,
		Tolerance: policy.Tolerance,
	})
	if err != nil {
		return beatAndSweepResult{}, err
	}

	sweep, err := s.Sweep(ctx, policy)
	return beatAndSweepResult{SweepResult: sweep, Gap: beat.Gap}, err
}

func mustBeatAndSweep(t *testing.T, s Store, policy service.SweepPolicy) beatAndSweepResult {
	t.Helper()
	result, err := beatAndSweep(t.Context(), s, policy)
	if err != nil {
		t.Fatalf("beat and sweep: %v", err)
	}
	return result
}

func wantUnavailable(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, service.ErrUnavailable) {
		t.Errorf("%s = %v, want ErrUnavailable", what, err)
	}
}
