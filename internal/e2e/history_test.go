package e2e

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"darktower.example/global-controller/internal/daemon"
	fleetpb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// historyBody is a page of the history over HTTP.
type historyBody struct {
	Transitions []struct {
		ID           int64
		ControllerID string `json:"controller_id"`
		At           time.Time
		Cause, Actor string
		SilenceMs    int64  `json:"silence_ms"`
		Reported     string `json:"reported_health"`
	}
	NextBefore int64  `json:"next_before"`
	NextCursor string `json:"next_cursor"`
}

// listHistory requests a page of the history over HTTP.
func (env *environment) listHistory(query string) (page historyBody) {
	env.t.Helper()
	got := env.get("/api/v1/transitions?"+query, env.readerToken())
	if got.status != http.StatusOK {
		env.t.Fatalf("history with %q = %v", query, got)
	}
	got.decode(env.t, &page)
	return page
}

// TestHistory_ByTimeAndRegion requests parts of the history over HTTP and gRPC.
func TestHistory_ByTimeAndRegion(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		env.registerHealthy("mc-1", "mc-2")
		env.register("mc-us", with(registration(), "region", "us"))
		all := env.listHistory("").Transitions
		if len(all) != 5 {
			t.Fatalf("history = %+v, want 5 transitions", all)
		}

		// Times of PostgreSQL are finer than a millisecond, and are written with all their digits.
		middle := all[2].At
		since := url.QueryEscape(middle.Format(time.RFC3339Nano))
		if got := env.listHistory("since=" + since).Transitions; len(got) < 3 || got[0].At.Before(middle) {
			t.Errorf("since = %+v, want the transitions from that time on", got)
		}
		got := env.listHistory("until=" + since).Transitions
		if len(got) > 2 || len(got) > 0 && !got[len(got)-1].At.Before(middle) {
			t.Errorf("until = %+v, want the transitions before that time", got)
		}
		got = env.listHistory("region=us").Transitions
		if len(got) != 1 || got[0].ControllerID != "mc-us" {
			t.Fatalf("region = %+v, want the one of us", got)
		}
		if got[0].Cause != "register" || got[0].Actor != "client-1" || got[0].Reported != "pending" {
			t.Errorf("registration = %+v, want its cause, its actor and the state", got[0])
		}

		newest := env.listHistory("order=newest&page_size=2")
		if len(newest.Transitions) != 2 || newest.Transitions[0].ID != all[4].ID || newest.NextBefore != all[3].ID {
			t.Errorf("the newest = %+v, want the last two", newest)
		}
		in := &fleetpb.ListTransitionsRequest{NewestFirst: true, Before: uint64(newest.NextBefore), PageSize: 5}
		listed, err := fleetpb.NewFleetServiceClient(env.conn).ListTransitions(env.adminContext(), in)
		if err != nil || len(listed.GetTransitions()) != 3 || listed.GetNextBefore() != 0 {
			t.Errorf("ListTransitions() = %v, %v, want the first three, and no next page", listed, err)
		}
	})
}

// TestRetention_LongStaleControllersAreRetired registers a controller that then sends no heartbeat.
func TestRetention_LongStaleControllersAreRetired(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, func(c *daemon.Config) {
			c.ForceThreshold = true
			c.StalenessThreshold = time.Second
			c.RetireAfter = 2 * time.Second
			c.Testing.RetentionInterval = 500 * time.Millisecond
		}).waitReady()

		env.registerHealthy("mc")
		env.waitFor("retired", func() bool {
			return env.get("/api/v1/controllers/mc", env.readerToken()).status == http.StatusNotFound
		})
		got := env.get("/api/v1/controllers/mc/transitions", env.readerToken())
		if !got.is(http.StatusOK, `"from":"unhealthy","to":null,"cause":"retired","actor":"`+env.cfg.ID) {
			t.Errorf("history = %v, want that this replica retired it", got)
		}
	})
}
