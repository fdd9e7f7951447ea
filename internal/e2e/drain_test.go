package e2e

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"darktower.example/global-controller/internal/daemon"
	fleetpb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
)

type regionBody struct {
	Region              string
	Healthy, Draining   int
	Meetings            struct{ Max, Current, Largest, Free int }
	SurvivesLargestLoss bool `json:"survives_largest_loss"`
}

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

// TestDrain_UnsafeNeedsForce asks first, is refused, and forces.
func TestDrain_UnsafeNeedsForce(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		env.registerHealthy("mc-1", "mc-2")
		const one = "/api/v1/controllers/mc-1"

		drain := func(body string) (httpResponse, drainBody) {
			got := env.request(http.MethodPost, one+"/drain", body, bearer(env.adminToken()))
			var shown drainBody
			if got.status == http.StatusOK {
				got.decode(t, &shown)
			}

			return got, shown
		}

		got, asked := drain(`{"dry_run":true}`)
		if got.status != http.StatusOK || asked.Plan.Safe || len(asked.Plan.Reasons) != 2 || asked.Plan.Affected != 3 || asked.Health != "healthy" || asked.Generation != 0 ||
			asked.Plan.Before.Meetings.Max != 200 || asked.Plan.After.Meetings.Max != 100 || asked.Plan.After.Draining != 1 || asked.Plan.After.SurvivesLargestLoss {
			t.Errorf("dry run = %d %s, want a plan that is not safe, and nothing done", got.status, got.body)
		}
		if got, after := drain(`{"dry_run":true,"assume_drained":["mc-2"]}`); got.status != http.StatusOK || after.Plan.After.Draining != 2 || after.Plan.Before.Meetings.Max != 100 {
			t.Errorf("dry run after mc-2 = %d %s, want both taken for draining", got.status, got.body)
		}

		most := slices.Repeat([]string{strings.Repeat("a", 255)}, service.MaxAssumeDrained)
		if got, _ := drain(`{"dry_run":true,"assume_drained":["` + strings.Join(most, `","`) + `"]}`); got.status != http.StatusOK {
			t.Errorf("dry run after as many as may be = %d %s, want 200", got.status, got.body)
		}
		for body, want := range map[string]string{`{"assume_drained":["mc-2"]}`: "assume_drained is only for a dry run", `{"dry_run":true,"assume_drained":["no name"]}`: "assume_drained"} {
			if got, _ := drain(body); got.status != http.StatusBadRequest || !strings.Contains(got.body, want) {
				t.Errorf("drain %s = %d %s, want 400 %q", body, got.status, got.body, want)
			}
		}

		got, _ = drain(`{"reason":"kernel"}`)
		if got.status != http.StatusConflict || !strings.Contains(got.body, "could not lose its largest controller any more") || !strings.Contains(got.body, "CONFLICT") {
			t.Errorf("drain = %d %s, want 409 and why", got.status, got.body)
		}
		fleet := fleetpb.NewFleetServiceClient(env.conn)
		if _, err := fleet.Drain(env.adminContext(), &fleetpb.DrainRequest{ControllerId: "mc-1"}); status.Code(err) != codes.FailedPrecondition {
			t.Errorf("Drain() = %v, want FailedPrecondition", err)
		}

		plan, err := fleet.Drain(env.adminContext(), &fleetpb.DrainRequest{ControllerId: "mc-1", DryRun: true})
		if _, err := fleet.Drain(env.adminContext(), &fleetpb.DrainRequest{ControllerId: "mc-1", DryRun: true, AssumeDrained: most}); err != nil {
			t.Errorf("dry run after as many as may be = %v", err)
		}
		if both, err := fleet.Drain(env.adminContext(), &fleetpb.DrainRequest{ControllerId: "mc-1", DryRun: true, AssumeDrained: []string{"mc-2"}}); err != nil || both.GetPlan().GetAfter().GetDraining() != 2 {
			t.Errorf("dry run after mc-2 = %v, %v, want both taken for draining", both, err)
		}
		if err != nil || plan.GetPlan().GetSafe() || plan.GetPlan().GetAfter().GetMeetings().GetFreeWithoutLargest() != -6 || plan.GetController().GetDrain() != nil {
			t.Errorf("dry run = %v, %v, want a plan that is not safe, and nothing done", plan, err)
		}

		got, forced := drain(`{"reason":"fire","force":true}`)
		if got.status != http.StatusOK || forced.Health != "draining" || forced.Drain == nil || forced.Drain.Reason != "fire" || forced.Drain.By != "operator-1" || forced.Generation != 1 || forced.Drained {
			t.Errorf("forced = %d %s, want it draining", got.status, got.body)
		}
		var regions struct{ Regions []regionBody }
		env.get("/api/v1/regions", env.readerToken()).decode(t, &regions)
		want := []regionBody{{Region: "eu-west-1", Healthy: 1, Draining: 1}}
		want[0].Meetings.Max, want[0].Meetings.Current, want[0].Meetings.Largest, want[0].Meetings.Free = 100, 6, 100, 94
		if diff := cmp.Diff(want, regions.Regions); diff != "" {
			t.Errorf("regions (-want +got):\n%s", diff)
		}

		if listed, err := fleet.ListRegions(env.adminContext(), &fleetpb.ListRegionsRequest{}); err != nil || len(listed.GetRegions()) != 1 || listed.GetRegions()[0].GetMeetings().GetCurrent() != 6 {
			t.Errorf("ListRegions() = %v, %v, want the one", listed, err)
		}
	})
}

// TestDrain_Drained holds that a draining controller is shown as drained once nothing is left, and not because its deadline
// has passed.
func TestDrain_Drained(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		env.registerHealthy("mc-1", "mc-2", "mc-3", "mc-4")
		show := func(id string) (shown drainBody) {
			env.get("/api/v1/controllers/"+id, env.readerToken()).decode(t, &shown)
			return shown
		}
		if got := env.request(http.MethodPost, "/api/v1/controllers/mc-1/drain", `{"reason":"kernel"}`, bearer(env.adminToken())); got.status != http.StatusOK {
			t.Fatalf("drain = %d %s", got.status, got.body)
		}

		if show("mc-1").Drained {
			t.Error("mc-1 is shown as drained while meetings run")
		}
		empty := with(fastHeartbeat(), "capacity", map[string]any{})
		env.heartbeat("mc-1", empty)
		if got := show("mc-1"); !got.Drained || got.Drain.DeadlinePassed {
			t.Errorf("without meetings = %+v, want it drained", got)
		}

		soon := time.Now().Add(1500 * time.Millisecond).UTC().Format(time.RFC3339Nano)
		if got := env.request(http.MethodPost, "/api/v1/controllers/mc-2/drain", `{"deadline":"`+soon+`"}`, bearer(env.adminToken())); got.status != http.StatusOK {
			t.Fatalf("drain = %d %s", got.status, got.body)
		}
		env.waitFor("the drain's deadline passes", func() bool { return show("mc-2").Drain.DeadlinePassed })
		if got := show("mc-2"); got.Drained || got.Health != "draining" {
			t.Errorf("after the deadline = %+v, want it draining still and not drained: meetings run", got)
		}

		participants := with(fastHeartbeat(), "capacity", map[string]any{"current_participants": 1})
		env.heartbeat("mc-2", participants)
		if got := show("mc-2"); got.Drained {
			t.Errorf("with a participant left = %+v, want it not drained", got)
		}

		env.heartbeat("mc-2", empty)
		if got := show("mc-2"); !got.Drained || !got.Drain.DeadlinePassed {
			t.Errorf("with nothing left after the deadline = %+v, want it drained", got)
		}

		for body, want := range map[string]string{
			`{"deadline":"2001-02-03T04:05:06Z"}`: "deadline must be in the future", `{"deadline":"30m"}`: "deadline must be a time as in RFC 3339",
			`{"dry_run":1}`: "dry_run has a value of the wrong type",
		} {
			if got := env.request(http.MethodPost, "/api/v1/controllers/mc-3/drain", body, bearer(env.adminToken())); got.status != http.StatusBadRequest || !strings.Contains(got.body, want) {
				t.Errorf("drain %s = %d %s, want 400 %q", body, got.status, got.body, want)
			}
		}

		if got := env.request(http.MethodDelete, "/api/v1/controllers/mc-2/drain", "", bearer(env.adminToken())); got.status != http.StatusOK || strings.Contains(got.body, `"drained":true`) {
			t.Errorf("undrain = %d %s, want it not drained any more", got.status, got.body)
		}
	})
}

// TestHistory_ByTimeAndRegion asks for parts of the history, over both transports.
func TestHistory_ByTimeAndRegion(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		env.registerHealthy("mc-1", "mc-2")
		if got := env.send(viaGRPC, call{"RegisterMC", "mc-us", with(registration(), "region", "us"), env.controllerAuth()}); got != (outcome{}) {
			t.Fatalf("RegisterMC() = %v", got)
		}

		type page struct {
			Transitions []struct {
				ID           int64
				ControllerID string `json:"controller_id"`
				At           time.Time
				Cause, Actor string
				SilenceMs    int64  `json:"silence_ms"`
				Reported     string `json:"reported_health"`
			}
			NextBefore int64 `json:"next_before"`
		}

		ask := func(query string) (p page) {
			t.Helper()
			got := env.get("/api/v1/transitions?"+query, env.readerToken())
			if got.status != http.StatusOK {
				t.Fatalf("%s = %d %s", query, got.status, got.body)
			}

			got.decode(t, &p)
			return p
		}

		all := ask("")
		if len(all.Transitions) != 5 {
			t.Fatalf("history = %+v, want 5 changes", all)
		}
		middle := all.Transitions[2].At

		// A time of the store is finer than a millisecond over PostgreSQL only, and written whole.
		since := url.QueryEscape(middle.Format(time.RFC3339Nano))
		if got := ask("since=" + since).Transitions; len(got) < 3 || got[0].At.Before(middle) {
			t.Errorf("since = %+v, want what came then and after", got)
		}
		if got := ask("until=" + since).Transitions; len(got) > 2 || len(got) > 0 && !got[len(got)-1].At.Before(middle) {
			t.Errorf("until = %+v, want what came before", got)
		}
		if got := ask("region=us").Transitions; len(got) != 1 || got[0].ControllerID != "mc-us" || got[0].Cause != "register" || got[0].Actor != "client-1" || got[0].Reported != "pending" {
			t.Errorf("region = %+v, want the one of us", got)
		}

		newest := ask("order=newest&page_size=2")
		if len(newest.Transitions) != 2 || newest.Transitions[0].ID != all.Transitions[4].ID || newest.NextBefore != all.Transitions[3].ID {
			t.Errorf("the newest = %+v, want the last two", newest)
		}
		listed, err := fleetpb.NewFleetServiceClient(env.conn).ListTransitions(env.adminContext(), &fleetpb.ListTransitionsRequest{NewestFirst: true, Before: uint64(newest.NextBefore), PageSize: 5})
		if err != nil || len(listed.GetTransitions()) != 3 || listed.GetNextBefore() != 0 {
			t.Errorf("ListTransitions() = %v, %v, want the first three, and no page after", listed, err)
		}
	})
}

// TestRetention_LongStaleControllersAreRetired has a controller fall silent for good.
func TestRetention_LongStaleControllersAreRetired(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, func(c *daemon.Config) {
			c.ForceThreshold, c.StalenessThreshold, c.RetireAfter, c.Testing.RetentionInterval = true, time.Second, 2*time.Second, 500*time.Millisecond
		}).waitReady()
		env.registerHealthy("mc")
		env.waitFor("retired", func() bool { return env.get("/api/v1/controllers/mc", env.readerToken()).status == http.StatusNotFound })
		if got := env.get("/api/v1/controllers/mc/transitions", env.readerToken()).body; !strings.Contains(got, `"from":"unhealthy","to":null,"cause":"retired","actor":"`+env.cfg.ID) {
			t.Errorf("history = %s, want that it was retired, and by whom", got)
		}
	})
}
