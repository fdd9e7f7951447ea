package httptransport

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"darktower.example/global-controller/service"
)

var drainEnds = time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)

func (f *fakeService) Drain(_ context.Context, order service.DrainOrder) (service.DrainResponse, error) {
	f.last = order
	at := drainEnds.Add(-time.Hour)

	controller := service.Controller{
		ControllerID:         order.ControllerID,
		Health:               service.HealthDraining,
		Generation:           3,
		Incarnation:          "one",
		IncarnationConflicts: 2,
		LastConflictAt:       &at,
		Drain:                &service.Drain{Since: at, Deadline: drainEnds, Reason: "kernel", By: "op"},
		AsOf:                 drainEnds,
	}

	plan := service.DrainPlan{
		Reasons:          []string{"no controller left"},
		MeetingsAffected: 5,
		Before:           service.Region{Region: "eu", Controllers: map[service.HealthStatus]int64{service.HealthHealthy: 2}},
		After: service.Region{
			Region:   "eu",
			Meetings: service.RegionCapacity{ServingLimit: 10, RunningLoad: 4, LargestServing: 7},
		},
	}

	return service.DrainResponse{Controller: controller, Plan: plan}, f.err
}

func (f *fakeService) Undrain(_ context.Context, order service.UndrainOrder) (service.Controller, error) {
	f.last = order
	return service.Controller{ControllerID: order.ControllerID, Health: service.HealthHealthy}, f.err
}

func (f *fakeService) Deregister(_ context.Context, d service.Deregistration) (service.DeregistrationResponse, error) {
	f.last = d
	return service.DeregistrationResponse{}, f.err
}

func (f *fakeService) ListRegions(_ context.Context, q service.RegionQuery) (service.Regions, error) {
	f.last = q
	return service.Regions{Regions: []service.Region{{Region: "eu"}}}, f.err
}

func (f *fakeService) ListTransitions(_ context.Context, q service.TransitionQuery) (service.TransitionPage, error) {
	f.last = q
	transitions := []service.Transition{
		{
			ID:           7,
			ControllerID: "mc-1",
			Region:       "eu",
			At:           drainEnds,
			To:           service.HealthPending,
			Cause:        service.CauseRegister,
			Reported:     service.HealthPending,
		},
		{
			ID:           8,
			ControllerID: "mc-1",
			From:         service.HealthPending,
			Cause:        service.CauseRetired,
			Silence:      time.Second,
			Reported:     service.HealthPending,
		},
	}

	next := service.Cursor{ID: 9, Fingerprint: "0123456789ab"}
	return service.TransitionPage{Transitions: transitions, NextAfter: 8, Next: next}, f.err
}

func TestHandler_OperatorRoutesReachService(t *testing.T) {
	seven := int64(7)
	tests := []struct {
		method, path, body string
		want               any
		parts              []string
	}{
		{
			"POST", one + "/drain", `{"reason":"kernel","deadline":"2031-02-03T05:05:06+01:00","expected_generation":7}`,
			service.DrainOrder{ControllerID: "mc-1", Reason: "kernel", Deadline: drainEnds, ExpectedGeneration: &seven},
			[]string{
				`"drain":{"since":"2031-02-03T03:05:06Z","deadline":"2031-02-03T04:05:06Z","reason":"kernel","by":"op","deadline_passed":true}`,
				`"drained":true`, `"generation":3`, `"incarnation":"one"`,
				`"incarnation_conflicts":2`, `"last_incarnation_conflict_at":"2031-02-03T03:05:06Z"`,
				`"plan":{"safe":false,"reasons":["no controller left"],"meetings_affected":5`, `"before":{"region":"eu","pending":0,"healthy":2`,
				`"meetings":{"max":10,"current":4,"largest":7,"free":6,"free_without_largest":-1}`,
			},
		},
		{"POST", one + "/drain", `{"dry_run":true,"force":true}`, service.DrainOrder{ControllerID: "mc-1", DryRun: true, Force: true}, nil},
		{"GET", "/api/v1/regions", ``, service.RegionQuery{}, []string{`{"regions":[{"region":"eu"`, `"survives_largest_loss":false`}},
		{
			"GET", one + "/transitions?before=9&since=2031-02-03T04:05:06Z&until=2031-02-03T06:05:06%2B01:00&order=newest", ``,
			service.TransitionQuery{ControllerID: "mc-1", Before: 9, Since: drainEnds, Until: drainEnds.Add(time.Hour), NewestFirst: true},
			[]string{`"next_before":0`},
		},
		{"POST", one + "/drain", ``, service.DrainOrder{ControllerID: "mc-1"}, nil},
		{
			"DELETE", one + "/drain?reason=done&expected_generation=7", ``,
			service.UndrainOrder{ControllerID: "mc-1", Reason: "done", ExpectedGeneration: &seven},
			[]string{`"drain":null`, `"incarnation":null`},
		},
		{
			"DELETE", one + "?reason=scrapped&expected_generation=7", ``,
			service.Deregistration{ControllerID: "mc-1", Reason: "scrapped", ExpectedGeneration: &seven},
			[]string{`{"deregistered":true}`},
		},
		{
			"GET", "/api/v1/transitions?region=eu&after=6&page_size=5", ``,
			service.TransitionQuery{Region: "eu", After: 6, PageSize: 5},
			[]string{
				`"from":null,"to":"pending"`, `"from":"pending","to":null`, `"silence_ms":1000`, `"next_after":8`, `"next_cursor":"9-0123456789ab"`,
			},
		},
		{"GET", one + "/transitions?after=6", ``, service.TransitionQuery{ControllerID: "mc-1", After: 6}, nil},
	}

	for _, tc := range tests {
		svc := &fakeService{}
		w := call(newTestHandler(svc, nil), tc.method, tc.path, tc.body)
		if diff := cmp.Diff(tc.want, svc.last); w.Code != http.StatusOK || diff != "" {
			t.Errorf("%s %s = %d %s; reached the service (-want +got):\n%s", tc.method, tc.path, w.Code, w.Body, diff)
		}
		for _, part := range tc.parts {
			if !strings.Contains(w.Body.String(), part) {
				t.Errorf("%s %s = %s, want %s in it", tc.method, tc.path, w.Body, part)
			}
		}
	}
}

func TestHandler_OperatorRoutesRefuseInvalidInput(t *testing.T) {
	tests := map[string]string{
		"POST " + one + "/drain":                          "unknown field cause",
		"DELETE " + one + "/drain?expected_generation=-1": "expected_generation must be a whole number, 0 or more",
		"DELETE " + one + "/drain?because=x":              "unknown parameter because",
		"DELETE " + one + "?reason=a&reason=b":            "repeated parameter reason",
		"GET /api/v1/transitions?after=x":                 "after must be a whole number, 0 or more",
		"GET /api/v1/transitions?page_size=0":             "page_size must be between 1 and 1000",
		"GET /api/v1/transitions?controller_id=x":         "unknown parameter controller_id",
		"GET " + one + "/transitions?region=eu":           "unknown parameter region",
		"GET /api/v1/transitions?order=up":                "order must be oldest or newest",
		"GET /api/v1/transitions?since=today":             "since must be a time as in RFC 3339",
		"GET /api/v1/regions?region=eu":                   "unknown parameter region",
	}

	for request, want := range tests {
		method, path, _ := strings.Cut(request, " ")
		body := ""
		if method == "POST" {
			body = `{"cause":"x"}`
		}

		w := call(newTestHandler(&fakeService{}, nil), method, path, body)
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s = %d %s, want 400 with %q", request, w.Code, w.Body, want)
		}
	}
}

func TestHandler_ConflictAndRetryAfter(t *testing.T) {
	for _, err := range []error{service.ErrSuperseded, service.ErrConflict} {
		if w := call(newTestHandler(&fakeService{err: err}, nil), "POST", one+"/drain", ""); w.Code != http.StatusConflict ||
			!strings.Contains(w.Body.String(), `"CONFLICT"`) {
			t.Errorf("%v = %d %s, want 409", err, w.Code, w.Body)
		}
	}

	retry := &service.RetryError{After: 1200 * time.Millisecond, Err: service.ErrUnavailable}
	if w := call(newTestHandler(&fakeService{err: retry}, nil), "DELETE", one, ""); w.Code != http.StatusServiceUnavailable ||
		w.Header().Get("Retry-After") != "2" {
		t.Errorf("unavailable = %d, Retry-After %q, want 503 and 2", w.Code, w.Header().Get("Retry-After"))
	}
}
