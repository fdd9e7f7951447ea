package service

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

// operatorStore returns its fields and records the last order.
type operatorStore struct {
	Store
	err       error
	order     any
	actor     string
	byItself  bool
	conflicts int
	page      []Transition
	through   Cursor
}

func (s *operatorStore) Register(context.Context, Registration, string) (RegisterResult, error) {
	return RegisterResult{}, s.err
}

func (s *operatorStore) Heartbeat(context.Context, HeartbeatWrite) (HeartbeatResult, error) {
	return HeartbeatResult{}, s.err
}

func (s *operatorStore) RecordConflict(string) { s.conflicts++ }

func (s *operatorStore) Drain(_ context.Context, order DrainOrder, actor string) (OperatorResult, error) {
	s.order, s.actor = order, actor
	return OperatorResult{Transition: &Transition{}}, s.err
}

func (s *operatorStore) Undrain(_ context.Context, order UndrainOrder, actor string) (OperatorResult, error) {
	s.order, s.actor = order, actor
	return OperatorResult{Transition: &Transition{}}, s.err
}

func (s *operatorStore) Deregister(_ context.Context, d Deregistration, actor string, byItself bool) (*Transition, error) {
	s.order, s.actor, s.byItself = d, actor, byItself
	return &Transition{}, s.err
}

func (s *operatorStore) Transitions(_ context.Context, filter TransitionFilter) (TransitionList, error) {
	s.order = filter
	return TransitionList{Transitions: s.page, Through: s.through}, s.err
}

func TestOperatorService_OrdersReachTheStore(t *testing.T) {
	store, observer := &operatorStore{}, &countingObserver{}
	svc := New(store, Intervals{}, observer, nil)
	ctx := WithCaller(t.Context(), Caller{Subject: "op", IsOperator: true})

	if _, err := svc.Drain(ctx, DrainOrder{ControllerID: "mc", Reason: "kernel"}); err != nil || store.actor != "op" ||
		!reflect.DeepEqual(store.order, DrainOrder{ControllerID: "mc", Reason: "kernel"}) {
		t.Errorf("Drain() = %v, stored %+v by %q", err, store.order, store.actor)
	}
	if _, err := svc.Undrain(ctx, UndrainOrder{ControllerID: "mc"}); err != nil || store.order != (UndrainOrder{ControllerID: "mc"}) {
		t.Errorf("Undrain() = %v, stored %+v", err, store.order)
	}
	if _, err := svc.Deregister(ctx, Deregistration{ControllerID: "mc"}); err != nil || store.order != (Deregistration{ControllerID: "mc"}) ||
		store.byItself {
		t.Errorf("Deregister() = %v, stored %+v, by itself: %v", err, store.order, store.byItself)
	}

	if observer.changed != 3 {
		t.Errorf("changes reported = %d, want 3", observer.changed)
	}

	store.err = ErrConflict
	if _, err := svc.Drain(ctx, DrainOrder{ControllerID: "mc"}); !errors.Is(err, ErrConflict) {
		t.Errorf("Drain() = %v, want ErrConflict", err)
	}
	if _, err := svc.Undrain(ctx, UndrainOrder{ControllerID: "mc"}); !errors.Is(err, ErrConflict) {
		t.Errorf("Undrain() = %v, want ErrConflict", err)
	}
	if _, err := svc.Deregister(ctx, Deregistration{ControllerID: "mc"}); !errors.Is(err, ErrConflict) {
		t.Errorf("Deregister() = %v, want ErrConflict", err)
	}
	if _, err := svc.ListTransitions(ctx, TransitionQuery{}); !errors.Is(err, ErrConflict) {
		t.Errorf("ListTransitions() = %v, want the store's error", err)
	}
}

func TestDeregister_ControllerItself(t *testing.T) {
	store := &operatorStore{}
	svc := New(store, Intervals{}, &countingObserver{}, nil)
	ctx := WithCaller(t.Context(), Caller{Subject: "client"})
	if _, err := svc.Deregister(ctx, Deregistration{ControllerID: "mc"}); !errors.Is(err, ErrForbidden) || store.order != nil {
		t.Errorf("without an incarnation = %v, want ErrForbidden", err)
	}
	if _, err := svc.Deregister(ctx, Deregistration{ControllerID: "mc", Incarnation: "one"}); err != nil || !store.byItself {
		t.Errorf("with its incarnation = %v, by itself: %v", err, store.byItself)
	}
}

func TestControllerService_SupersededProcessesAreCounted(t *testing.T) {
	store, observer := &operatorStore{err: ErrSuperseded}, &countingObserver{}
	svc := New(store, Intervals{}, observer, nil)

	heartbeat := FastHeartbeat{ControllerID: "mc", Load: &LoadReport{}, Incarnation: "old"}
	if _, err := svc.FastHeartbeat(t.Context(), heartbeat); !errors.Is(err, ErrSuperseded) {
		t.Errorf("FastHeartbeat() = %v, want ErrSuperseded", err)
	}

	registration := Registration{ControllerID: "mc", Region: "r", GRPCEndpoint: "http://mc", MaxMeetings: 1, MaxParticipants: 1}
	if _, err := svc.RegisterMC(t.Context(), registration); !errors.Is(err, ErrSuperseded) {
		t.Errorf("RegisterMC() = %v, want ErrSuperseded", err)
	}

	if store.conflicts != 2 || observer.superseded != 2 || observer.failed != 0 {
		t.Errorf("conflicts stored, counted, failures = %d, %d, %d, want 2, 2, 0", store.conflicts, observer.superseded, observer.failed)
	}
}

func TestFastHeartbeat_UnavailableStoreGivesRetryDelay(t *testing.T) {
	store := &operatorStore{err: ErrUnavailable}
	svc := New(store, Intervals{Fast: 10 * time.Second}, &countingObserver{}, nil)
	_, err := svc.FastHeartbeat(t.Context(), FastHeartbeat{ControllerID: "mc", Load: &LoadReport{}})
	var retry *RetryError
	if !errors.As(err, &retry) || !errors.Is(err, ErrUnavailable) || retry.After < 5*time.Second || retry.After > 15*time.Second {
		t.Errorf("FastHeartbeat() = %v, want ErrUnavailable with a retry delay", err)
	}
}

func TestListTransitions_NextPosition(t *testing.T) {
	store := &operatorStore{page: []Transition{{ID: 4}, {ID: 9}}}
	svc := New(store, Intervals{}, &countingObserver{}, nil)

	page, err := svc.ListTransitions(t.Context(), TransitionQuery{ControllerID: "mc", Region: "eu", After: 3})
	if err != nil || page.NextAfter != 9 ||
		store.order != (TransitionFilter{ControllerID: "mc", Region: "eu", After: 3, Limit: DefaultPageSize}) {
		t.Errorf("ListTransitions() = %+v, %v, filter %+v", page, err, store.order)
	}

	store.through = Cursor{ID: 12, Fingerprint: "0123456789ab"}
	if page, err = svc.ListTransitions(t.Context(), TransitionQuery{PageSize: 2}); err != nil || page.Next != store.page[1].Cursor() {
		t.Errorf("next of a full page = %+v, %v, want its last change", page.Next, err)
	}
	if page, err = svc.ListTransitions(t.Context(), TransitionQuery{PageSize: 3, After: 3, Fingerprint: "ba9876543210"}); err != nil ||
		page.Next != store.through {
		t.Errorf("next of the last page = %+v, %v, want the end of the settled history", page.Next, err)
	}

	store.page = nil
	if page, err = svc.ListTransitions(t.Context(), TransitionQuery{After: 9}); err != nil || page.NextAfter != 9 {
		t.Errorf("ListTransitions() at the end = %+v, %v, want it to continue from 9", page, err)
	}
}

func TestOrders_InvalidFields(t *testing.T) {
	svc := New(&operatorStore{}, Intervals{}, &countingObserver{}, nil)
	ctx := WithCaller(t.Context(), Caller{IsOperator: true})

	tests := map[string]func() error{
		"controller_id is required": func() error { _, err := svc.Drain(ctx, DrainOrder{}); return err },
		"assume_drained is only for a dry run": func() error {
			_, err := svc.Drain(ctx, DrainOrder{ControllerID: "mc", AssumeDrained: []string{"a"}})
			return err
		},
		"assume_drained has too many controllers": func() error {
			_, err := svc.Drain(ctx, DrainOrder{ControllerID: "mc", DryRun: true, AssumeDrained: make([]string, MaxAssumeDrained+1)})
			return err
		},
		"an id of assume_drained is required": func() error {
			_, err := svc.Drain(ctx, DrainOrder{ControllerID: "mc", DryRun: true, AssumeDrained: []string{"a", ""}})
			return err
		},
		"reason is too long": func() error {
			_, err := svc.Drain(ctx, DrainOrder{ControllerID: "mc", Reason: strings.Repeat("a", 501)})
			return err
		},
		"reason contains invalid characters": func() error {
			_, err := svc.Undrain(ctx, UndrainOrder{ControllerID: "mc", Reason: "a\nb"})
			return err
		},
		"deadline must be between 1970 and 9999": func() error {
			_, err := svc.Drain(ctx, DrainOrder{ControllerID: "mc", Deadline: time.Unix(-1, 0)})
			return err
		},
		"incarnation contains invalid characters": func() error {
			_, err := svc.Deregister(ctx, Deregistration{ControllerID: "mc", Incarnation: "a b"})
			return err
		},
		"incarnation is too long": func() error {
			_, err := svc.FastHeartbeat(ctx, FastHeartbeat{ControllerID: "mc", Load: &LoadReport{}, Incarnation: strings.Repeat("a", 65)})
			return err
		},
		"after must be a whole number, 0 or more, or a cursor that was returned": func() error {
			_, err := svc.ListTransitions(ctx, TransitionQuery{After: -1})
			return err
		},
		"page_size must be between 1 and 1000": func() error {
			_, err := svc.ListTransitions(ctx, TransitionQuery{PageSize: 1001})
			return err
		},
		"region contains invalid characters": func() error {
			_, err := svc.ListTransitions(ctx, TransitionQuery{Region: "a b"})
			return err
		},
		"controller_id contains invalid characters": func() error {
			_, err := svc.ListTransitions(ctx, TransitionQuery{ControllerID: "a b"})
			return err
		},
	}

	for want, call := range tests {
		var invalid *InvalidError
		if err := call(); !errors.As(err, &invalid) || invalid.Message != want {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
