package e2e

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	fleetpb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
)

// regionBody is a region over HTTP.
type regionBody struct {
	Region              string
	Healthy, Draining   int
	Meetings            meetingsBody
	SurvivesLargestLoss bool `json:"survives_largest_loss"`
}

type meetingsBody struct{ Max, Current, Largest, Free int }

// drainBody is a drain, a plan of one, or a controller that drains, over HTTP.
type drainBody struct {
	Health     string
	Drained    bool
	Generation int
	Drain      *struct {
		Reason, By     string
		DeadlinePassed bool `json:"deadline_passed"`
	}
	Plan struct {
		Safe          bool
		Reasons       []string
		Affected      int `json:"meetings_affected"`
		Before, After regionBody
	}
}

// drain requests a drain over HTTP.
func (env *environment) drain(id, body string) (httpResponse, drainBody) {
	env.t.Helper()
	got := env.request(http.MethodPost, "/api/v1/controllers/"+id+"/drain", body, bearer(env.adminToken()))
	var drain drainBody
	if got.status == http.StatusOK {
		got.decode(env.t, &drain)
	}
	return got, drain
}

// assumedDrained returns as many names as a dry run may assume to be drained.
func assumedDrained() []string {
	return slices.Repeat([]string{strings.Repeat("a", 255)}, service.MaxAssumeDrained)
}

// TestDrain_UnsafeNeedsForce plans a drain that the region's capacity does not allow, is refused, and forces it.
func TestDrain_UnsafeNeedsForce(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		env.registerHealthy("mc-1", "mc-2")
		env.checkDryRunHTTP()
		env.checkDryRunGRPC()

		got, _ := env.drain("mc-1", `{"reason":"kernel"}`)
		if !got.is(http.StatusConflict, "without its largest controller", "CONFLICT") {
			t.Errorf("drain = %v, want 409 and the reason", got)
		}

		fleet := fleetpb.NewFleetServiceClient(env.conn)
		_, err := fleet.Drain(env.adminContext(), &fleetpb.DrainRequest{ControllerId: "mc-1"})
		if status.Code(err) != codes.FailedPrecondition {
			t.Errorf("Drain() = %v, want FailedPrecondition", err)
		}

		got, forced := env.drain("mc-1", `{"reason":"fire","force":true}`)
		if got.status != http.StatusOK || forced.Health != "draining" || forced.Generation != 1 || forced.Drained {
			t.Errorf("forced = %v, want it draining", got)
		}
		if forced.Drain == nil || forced.Drain.Reason != "fire" || forced.Drain.By != "operator-1" {
			t.Errorf("forced = %v, want reason and operator", got)
		}

		var regions struct{ Regions []regionBody }
		env.get("/api/v1/regions", env.readerToken()).decode(t, &regions)
		want := []regionBody{{
			Region:   "eu-west-1",
			Healthy:  1,
			Draining: 1,
			Meetings: meetingsBody{Max: 100, Current: 6, Largest: 100, Free: 94},
		}}
		if diff := cmp.Diff(want, regions.Regions); diff != "" {
			t.Errorf("regions (-want +got):\n%s", diff)
		}

		listed, err := fleet.ListRegions(env.adminContext(), &fleetpb.ListRegionsRequest{})
		if err != nil || len(listed.GetRegions()) != 1 || listed.GetRegions()[0].GetMeetings().GetCurrent() != 6 {
			t.Errorf("ListRegions() = %v, %v, want the one region", listed, err)
		}
	})
}

// checkDryRunHTTP plans drains of mc-1 beside mc-2 over HTTP.
func (env *environment) checkDryRunHTTP() {
	env.t.Helper()
	got, drain := env.drain("mc-1", `{"dry_run":true}`)
	plan := drain.Plan
	if got.status != http.StatusOK || plan.Safe || len(plan.Reasons) != 2 || plan.Affected != 3 {
		env.t.Errorf("dry run = %v, want a plan that is not safe", got)
	}
	if plan.Before.Meetings.Max != 200 || plan.After.Meetings.Max != 100 || plan.After.Draining != 1 || plan.After.SurvivesLargestLoss {
		env.t.Errorf("dry run = %v, want the region before and after", got)
	}
	if drain.Health != "healthy" || drain.Generation != 0 {
		env.t.Errorf("dry run = %v, want nothing changed", got)
	}

	got, drain = env.drain("mc-1", `{"dry_run":true,"assume_drained":["mc-2"]}`)
	if got.status != http.StatusOK || drain.Plan.After.Draining != 2 || drain.Plan.Before.Meetings.Max != 100 {
		env.t.Errorf("dry run after mc-2 = %v, want both counted as draining", got)
	}
	got, _ = env.drain("mc-1", `{"dry_run":true,"assume_drained":["`+strings.Join(assumedDrained(), `","`)+`"]}`)
	if got.status != http.StatusOK {
		env.t.Errorf("dry run after as many as allowed = %v, want 200", got)
	}

	for body, want := range map[string]string{
		`{"assume_drained":["mc-2"]}`:                   "assume_drained is only for a dry run",
		`{"dry_run":true,"assume_drained":["no name"]}`: "assume_drained",
	} {
		if got, _ := env.drain("mc-1", body); !got.is(http.StatusBadRequest, want) {
			env.t.Errorf("drain %s = %v, want 400 %q", body, got, want)
		}
	}
}

// checkDryRunGRPC plans drains of mc-1 beside mc-2 over gRPC.
func (env *environment) checkDryRunGRPC() {
	env.t.Helper()
	plan := func(assumeDrained ...string) *fleetpb.DrainResponse {
		in := &fleetpb.DrainRequest{ControllerId: "mc-1", DryRun: true, AssumeDrained: assumeDrained}
		got, err := fleetpb.NewFleetServiceClient(env.conn).Drain(env.adminContext(), in)
		if err != nil {
			env.t.Errorf("dry run after %d = %v", len(assumeDrained), err)
		}
		return got
	}

	got := plan()
	isSafe, left := got.GetPlan().GetSafe(), got.GetPlan().GetAfter().GetMeetings().GetFreeWithoutLargest()
	if isSafe || left != -6 || got.GetController().GetDrain() != nil {
		env.t.Errorf("dry run = %v, want a plan that is not safe, and nothing changed", got)
	}
	if got := plan("mc-2"); got.GetPlan().GetAfter().GetDraining() != 2 {
		env.t.Errorf("dry run after mc-2 = %v, want both counted as draining", got)
	}
	plan(assumedDrained()...)
}

// TestDrain_Drained checks that a draining controller is shown as drained when no meeting and no participant is left, and not
// because its deadline has passed.
func TestDrain_Drained(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		env.registerHealthy("mc-1", "mc-2", "mc-3", "mc-4")
		show := func(id string) (shown drainBody) {
			env.get("/api/v1/controllers/"+id, env.readerToken()).decode(t, &shown)
			return shown
		}
		empty := with(fastHeartbeat(), "capacity", map[string]any{})

		env.sendOperatorCall(http.MethodPost, "mc-1/drain", `{"reason":"kernel"}`)
		if show("mc-1").Drained {
			t.Error("mc-1 is shown as drained while meetings run")
		}
		env.heartbeat("mc-1", empty)
		if got := show("mc-1"); !got.Drained || got.Drain.DeadlinePassed {
			t.Errorf("without meetings = %+v, want it drained", got)
		}

		deadline := time.Now().Add(1500 * time.Millisecond).UTC().Format(time.RFC3339Nano)
		env.sendOperatorCall(http.MethodPost, "mc-2/drain", `{"deadline":"`+deadline+`"}`)
		env.waitFor("the drain's deadline passes", func() bool { return show("mc-2").Drain.DeadlinePassed })
		if got := show("mc-2"); got.Drained || got.Health != "draining" {
			t.Errorf("after the deadline = %+v, want it draining and not drained, because meetings run", got)
		}

		env.heartbeat("mc-2", with(fastHeartbeat(), "capacity", map[string]any{"current_participants": 1}))
		if got := show("mc-2"); got.Drained {
			t.Errorf("with a participant left = %+v, want it not drained", got)
		}
		env.heartbeat("mc-2", empty)
		if got := show("mc-2"); !got.Drained || !got.Drain.DeadlinePassed {
			t.Errorf("with nothing left after the deadline = %+v, want it drained", got)
		}

		for body, want := range map[string]string{
			`{"deadline":"2001-02-03T04:05:06Z"}`: "deadline must be in the future",
			`{"deadline":"30m"}`:                  "deadline must be a time as in RFC 3339",
			`{"dry_run":1}`:                       "dry_run has a value of the wrong type",
		} {
			if got, _ := env.drain("mc-3", body); !got.is(http.StatusBadRequest, want) {
				t.Errorf("drain %s = %v, want 400 %q", body, got, want)
			}
		}

		got := env.request(http.MethodDelete, "/api/v1/controllers/mc-2/drain", "", bearer(env.adminToken()))
		if got.status != http.StatusOK || strings.Contains(got.body, `"drained":true`) {
			t.Errorf("undrain = %v, want it no longer drained", got)
		}
	})
}
