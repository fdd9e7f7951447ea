package grpctransport

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "darktower.example/global-controller/proto/darktower/v1"
	fleetpb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
)

// operatorService returns its fields and records the last order.
type operatorService struct {
	fakeService
	last       any
	err        error
	controller service.Controller
	intent     service.Intent
	page       service.TransitionPage
	plan       service.DrainPlan
	regions    service.Regions
}

func (f *operatorService) ListRegions(_ context.Context, q service.RegionQuery) (service.Regions, error) {
	f.last = q
	return f.regions, f.err
}

func (f *operatorService) Drain(_ context.Context, order service.DrainOrder) (service.DrainResponse, error) {
	f.last = order
	return service.DrainResponse{Controller: f.controller, Plan: f.plan}, f.err
}

func (f *operatorService) Undrain(_ context.Context, order service.UndrainOrder) (service.Controller, error) {
	f.last = order
	return f.controller, f.err
}

func (f *operatorService) Deregister(_ context.Context, d service.Deregistration) (service.DeregistrationResponse, error) {
	f.last = d
	return service.DeregistrationResponse{}, f.err
}

func (f *operatorService) ListTransitions(_ context.Context, q service.TransitionQuery) (service.TransitionPage, error) {
	f.last = q
	return f.page, f.err
}

func (f *operatorService) RegisterMC(_ context.Context, r service.Registration) (service.RegistrationResponse, error) {
	f.last = r
	return service.RegistrationResponse{
		FastInterval:          time.Second,
		ComprehensiveInterval: 3 * time.Second,
		Intent:                f.intent,
		RetryAfter:            5 * time.Second,
	}, f.err
}

func (f *operatorService) ComprehensiveHeartbeat(_ context.Context, h service.ComprehensiveHeartbeat) (service.Acknowledgement, error) {
	f.last = h
	return service.Acknowledgement{
		At:         time.Unix(7, 0),
		Intent:     f.intent,
		Intervals:  service.Intervals{Fast: time.Second, Comprehensive: 3 * time.Second},
		RetryAfter: 700 * time.Millisecond,
	}, f.err
}

func TestFleetService_OperatorCallsReachService(t *testing.T) {
	ends, since := time.Unix(2000000000, 0).UTC(), time.Unix(1900000000, 0).UTC()
	svc := &operatorService{controller: service.Controller{
		ControllerID:         "mc",
		Health:               service.HealthDraining,
		Generation:           4,
		Incarnation:          "one",
		IncarnationConflicts: 2,
		LastConflictAt:       &since,
		Drain:                &service.Drain{Since: since, Deadline: ends, Reason: "kernel", By: "op"},
	}}

	c := fleetpb.NewFleetServiceClient(dial(t, svc, nil))
	generation, huge := uint64(3), uint64(math.MaxUint64)
	drained, err := c.Drain(t.Context(), &fleetpb.DrainRequest{
		ControllerId:       "mc",
		Reason:             "kernel",
		Deadline:           timestamppb.New(ends),
		ExpectedGeneration: &generation,
	})
	if err != nil {
		t.Fatalf("Drain() = %v", err)
	}

	three, most := int64(3), int64(math.MaxInt64)
	wantOrder := service.DrainOrder{ControllerID: "mc", Reason: "kernel", Deadline: ends, ExpectedGeneration: &three}
	if diff := cmp.Diff(wantOrder, svc.last); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}

	got := drained.GetController()
	want := &fleetpb.Drain{Since: timestamppb.New(since), Deadline: timestamppb.New(ends), Reason: "kernel", By: "op"}
	if diff := cmp.Diff(want, got.GetDrain(), protocmp.Transform()); diff != "" || got.GetGeneration() != 4 || got.GetIncarnation() != "one" ||
		got.GetIncarnationConflicts() != 2 || !got.GetLastIncarnationConflictAt().AsTime().Equal(since) {
		t.Errorf("drained = %v (-want +got):\n%s", got, diff)
	}

	if _, err := c.Undrain(t.Context(), &fleetpb.UndrainRequest{ControllerId: "mc", Reason: "done", ExpectedGeneration: &huge}); err != nil {
		t.Errorf("Undrain() = %v", err)
	}
	if diff := cmp.Diff(service.UndrainOrder{ControllerID: "mc", Reason: "done", ExpectedGeneration: &most}, svc.last); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}

	if _, err := c.Drain(t.Context(), &fleetpb.DrainRequest{Deadline: &timestamppb.Timestamp{Nanos: -1}}); err != nil ||
		svc.last.(service.DrainOrder).Validate() == nil {
		t.Errorf("an invalid time reached the service as %+v, %v, want it refused there", svc.last, err)
	}

	if _, err := c.Deregister(t.Context(), &fleetpb.DeregisterRequest{ControllerId: "mc", Incarnation: "one", Reason: "done"}); err != nil ||
		svc.last != (service.Deregistration{ControllerID: "mc", Incarnation: "one", Reason: "done"}) {
		t.Errorf("Deregister() = %v, reached the service as %+v", err, svc.last)
	}

	svc.err = service.ErrConflict
	_, err = c.Drain(t.Context(), &fleetpb.DrainRequest{})
	wantStatus(t, err, codes.Aborted, "The generation has changed")
}

func TestFleetService_TransitionsAreConverted(t *testing.T) {
	transitions := []service.Transition{
		{
			ID:           8,
			ControllerID: "mc",
			Region:       "eu",
			At:           time.Unix(5, 0),
			To:           service.HealthPending,
			Cause:        service.CauseRegister,
			Actor:        "a",
			Reason:       "r",
			Reported:     service.HealthPending,
		},
		{ID: 9, From: service.HealthPending, Silence: time.Second, Reported: service.HealthHealthy},
	}
	svc := &operatorService{page: service.TransitionPage{
		NextAfter:   9,
		Next:        service.Cursor{ID: 9, Fingerprint: "0123456789ab"},
		Transitions: transitions,
	}}

	c := fleetpb.NewFleetServiceClient(dial(t, svc, nil))
	got, err := c.ListTransitions(t.Context(), &fleetpb.ListTransitionsRequest{ControllerId: "mc", Region: "eu", After: 7, PageSize: 2})
	want := &fleetpb.ListTransitionsResponse{NextAfter: 9, NextCursor: "9-0123456789ab", Transitions: []*fleetpb.Transition{
		{
			Id:             8,
			ControllerId:   "mc",
			Region:         "eu",
			At:             &timestamppb.Timestamp{Seconds: 5},
			To:             fleetpb.Health_HEALTH_PENDING,
			Cause:          "register",
			Actor:          "a",
			Reason:         "r",
			ReportedHealth: fleetpb.Health_HEALTH_PENDING,
		},
		{
			Id:             9,
			At:             timestamppb.New(time.Time{}),
			From:           fleetpb.Health_HEALTH_PENDING,
			SilenceMs:      1000,
			ReportedHealth: fleetpb.Health_HEALTH_HEALTHY,
		},
	}}

	if diff := cmp.Diff(want, got, protocmp.Transform()); err != nil || diff != "" {
		t.Errorf("ListTransitions() = %v (-want +got):\n%s", err, diff)
	}
	if want := (service.TransitionQuery{ControllerID: "mc", Region: "eu", After: 7, PageSize: 2}); svc.last != want {
		t.Errorf("query = %+v, want %+v", svc.last, want)
	}

	cursor := got.GetNextCursor()
	if _, err := c.ListTransitions(t.Context(), &fleetpb.ListTransitionsRequest{After: 7, Cursor: &cursor}); err != nil {
		t.Errorf("ListTransitions(cursor) = %v", err)
	}
	if want := (service.TransitionQuery{After: 9, Fingerprint: "0123456789ab"}); svc.last != want {
		t.Errorf("query = %+v, want %+v: the cursor takes precedence over the number", svc.last, want)
	}
}

func TestGlobalControllerService_OptionalFieldsAreSent(t *testing.T) {
	svc := &operatorService{intent: service.Intent{Draining: true, Deadline: time.Unix(99, 0), Reason: "kernel"}}
	c := pb.NewGlobalControllerServiceClient(dial(t, svc, nil))
	intent := &pb.OperatorIntent{Draining: true, Deadline: 99, Reason: "kernel"}

	in := registration()
	in.Incarnation = "one"
	registered, err := c.RegisterMC(t.Context(), in)
	if err != nil || svc.last.(service.Registration).Incarnation != "one" || registered.GetRetryAfterMs() != 5000 {
		t.Errorf("RegisterMC() = %v, %v", registered, err)
	}

	if diff := cmp.Diff(intent, registered.GetOperatorIntent(), protocmp.Transform()); diff != "" {
		t.Errorf("intent (-want +got):\n%s", diff)
	}

	beat, err := c.ComprehensiveHeartbeat(t.Context(), &pb.ComprehensiveHeartbeatRequest{ControllerId: "mc", Incarnation: "one"})
	want := &pb.ComprehensiveHeartbeatResponse{
		Acknowledged:                     true,
		Timestamp:                        7,
		OperatorIntent:                   intent,
		FastHeartbeatIntervalMs:          1000,
		ComprehensiveHeartbeatIntervalMs: 3000,
		RetryAfterMs:                     700,
	}

	if diff := cmp.Diff(want, beat, protocmp.Transform()); err != nil || diff != "" ||
		svc.last.(service.ComprehensiveHeartbeat).Incarnation != "one" {
		t.Errorf("ComprehensiveHeartbeat() = %v (-want +got):\n%s", err, diff)
	}

	svc.err = &service.RetryError{After: 1500 * time.Millisecond, Err: service.ErrUnavailable}
	_, err = c.ComprehensiveHeartbeat(t.Context(), &pb.ComprehensiveHeartbeatRequest{})
	wantStatus(t, err, codes.Unavailable, "Service temporarily unavailable")
	details := status.Convert(err).Details()
	if len(details) != 1 || details[0].(*errdetails.RetryInfo).GetRetryDelay().AsDuration() != 1500*time.Millisecond {
		t.Errorf("details = %v, want a retry delay", details)
	}

	svc.err = service.ErrSuperseded
	_, err = c.ComprehensiveHeartbeat(t.Context(), &pb.ComprehensiveHeartbeatRequest{})
	wantStatus(t, err, codes.FailedPrecondition, "Another incarnation of this controller is registered")
}
