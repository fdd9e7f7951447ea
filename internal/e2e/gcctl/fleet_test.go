package gcctl_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	pb "darktower.example/global-controller/proto/darktower/v1"
)

type listedController struct {
	ControllerID string `json:"controller_id"`
	Region       string `json:"region"`
	Health       string `json:"health"`
}

// listIDs runs fleet ls and returns the ids of the listed controllers.
func (e *environment) listIDs(args ...string) string {
	e.t.Helper()
	var ids []string
	output := e.gcctl(0, append([]string{"fleet", "ls", "-o", "json"}, args...)...).out
	for _, c := range decodeJSON[[]listedController](e.t, output) {
		ids = append(ids, c.ControllerID)
	}
	return strings.Join(ids, " ")
}

func TestFleetList_EmptyFleet(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnvironment(t)
	if got := e.gcctl(0, "fleet", "ls"); got.out != "" || !strings.Contains(got.err, "no controllers") {
		t.Errorf("fleet ls of an empty fleet = %q %q, want a note on standard error only", got.out, got.err)
	}
	if got := e.listIDs(); got != "" {
		t.Errorf("fleet ls -o json of an empty fleet = %q, want an empty list", got)
	}
}

func TestFleetList_FiltersAndFormats(t *testing.T) {
	runOnBothStores(t, func(t *testing.T, e *environment) {
		e.registerSix()
		degraded := newTestController("mc-us-3", "us", 30)
		degraded.health = pb.HealthStatus_HEALTH_STATUS_DEGRADED
		e.sendHeartbeat(degraded)
		e.sendHeartbeat(newTestController("mc-us-2", "us", 100)) // As many as it may have.
		e.gcctl(0, "drain", "mc-eu-1", "--yes", "--reason", "rack 4", "--force")

		for _, tc := range []struct{ flags, want string }{
			{"", "mc-eu-1 mc-eu-2 mc-eu-3 mc-us-1 mc-us-2 mc-us-3"},
			{"--region us", "mc-us-1 mc-us-2 mc-us-3"},
			{"--state degraded", "mc-us-3"},
			{"--state degraded,draining", "mc-eu-1 mc-us-3"},
			{"--accepts-meetings", "mc-eu-2 mc-eu-3 mc-us-1 mc-us-3"},
			{"--placeable", "mc-eu-2 mc-eu-3 mc-us-1 mc-us-3"},
			{"--draining", "mc-eu-1"},
			{"--draining --region us", ""},
			{"--id mc-eu", "mc-eu-1 mc-eu-2 mc-eu-3"},
			{"--id *-3", "mc-eu-3 mc-us-3"},
			{"--sort -meetings", "mc-us-2 mc-eu-3 mc-us-3 mc-eu-2 mc-eu-1 mc-us-1"},
			{"--sort state --region us", "mc-us-1 mc-us-2 mc-us-3"},
		} {
			if got := e.listIDs(strings.Fields(tc.flags)...); got != tc.want {
				t.Errorf("fleet ls %s = %q, want %q", tc.flags, got, tc.want)
			}
		}

		table := e.gcctl(0, "fleet", "ls").out
		checkContains(t, "fleet ls", table, "ID ", "LAST HEARTBEAT", "10/100", "draining (rack 4)", "12%", "34%")
		if strings.Contains(table, "\x1b") {
			t.Errorf("there are colours outside of a terminal:\n%q", table)
		}
		checkContains(t, "fleet ls -o wide", e.gcctl(0, "fleet", "ls", "-o", "wide").out, "https://mc-eu-1.example:4433", "GEN")
		e.checkMatchesHTTP()

		e.gcctl(2, "fleet", "ls", "--state", "sick")
		e.gcctl(2, "fleet", "ls", "--sort", "beauty")
		e.gcctl(2, "fleet", "ls", "--id", "[")
		e.gcctl(2, "fleet", "ls", "mc-eu-1")
	})
}

// checkMatchesHTTP compares the JSON and the YAML of commands with the responses of the HTTP API.
func (e *environment) checkMatchesHTTP() {
	e.t.Helper()
	e.compareWithHTTP([]string{"fleet", "ls"}, "/api/v1/controllers", "controllers")
	e.compareWithHTTP([]string{"fleet", "show", "mc-eu-1"}, "/api/v1/controllers/mc-eu-1", "")
	e.compareWithHTTP([]string{"history"}, "/api/v1/transitions", "transitions")
	e.compareWithHTTP([]string{"regions"}, "/api/v1/regions", "regions")
}

// compareWithHTTP compares the output of a command with a field of a response, or with the whole response.
func (e *environment) compareWithHTTP(command []string, path, field string) {
	e.t.Helper()
	_, body := e.get(path, "dev-reader")
	var want any = decodeJSON[map[string]any](e.t, string(body))
	if field != "" {
		want = want.(map[string]any)[field]
	}

	got := decodeJSON[any](e.t, e.gcctl(0, append(command, "-o", "json")...).out)
	if diff := cmp.Diff(removeAsOf(want), removeAsOf(got)); diff != "" {
		e.t.Errorf("%v: HTTP has -, gcctl +\n%s", command, diff)
	}

	var parsed any
	if err := yaml.Unmarshal([]byte(e.gcctl(0, append(command, "-o", "yaml")...).out), &parsed); err != nil {
		e.t.Fatal(err)
	}
	fromYAML, err := json.Marshal(parsed)
	if err != nil {
		e.t.Fatal(err)
	}
	got = decodeJSON[any](e.t, string(fromYAML))
	if diff := cmp.Diff(removeTimes(removeAsOf(want)), removeTimes(removeAsOf(got))); diff != "" {
		e.t.Errorf("%v: HTTP has -, the YAML +\n%s", command, diff)
	}
}

// removeAsOf removes the times of the response, which differ between two requests.
func removeAsOf(value any) any { return removeKeys(value, "as_of") }

// removeTimes removes all other times, because YAML formats them differently.
func removeTimes(value any) any {
	return removeKeys(value, "at", "since", "deadline", "created_at", "updated_at", "last_heartbeat_at")
}

// removeKeys removes keys from a decoded JSON value, in place and at every level.
func removeKeys(value any, keys ...string) any {
	switch v := value.(type) {
	case []any:
		for i := range v {
			v[i] = removeKeys(v[i], keys...)
		}
	case map[string]any:
		for _, key := range keys {
			delete(v, key)
		}
		for key := range v {
			v[key] = removeKeys(v[key], keys...)
		}
	}
	return value
}

func TestFleetShow_StateDrainAndReasons(t *testing.T) {
	runOnBothStores(t, func(t *testing.T, e *environment) {
		e.registerSix()
		checkContains(t, "fleet show", e.gcctl(0, "fleet", "show", "mc-eu-2").out,
			"mc-eu-2", "accepts meetings yes", "20 of 100", "http://mc-eu-2.example:50052", "pending  →  healthy")

		e.gcctl(0, "drain", "mc-eu-2", "--yes", "--reason", "new kernel", "--deadline", "25m30s")
		e.sendHeartbeat(newTestController("mc-eu-2", "eu", 100)) // As many as it may have.
		checkContains(t, "fleet show", e.gcctl(0, "fleet", "show", "mc-eu-2").out,
			"no: an operator is draining it", "    it has reached max_meetings", "dev-admin", "new kernel", "in 25m",
			"no: 100 meetings and 500 participants are left", "generation       1")
		checkContains(t, "an unknown controller", e.gcctl(3, "fleet", "show", "mc-eu-9").err,
			"controller mc-eu-9 is not registered", "gcctl fleet ls")

		e.gcctl(2, "fleet", "show")
		e.gcctl(2, "fleet", "show", "mc-eu-1", "mc-eu-2")
		e.gcctl(2, "fleet", "show", "not an id")
	})
}

func TestRegions_CapacityAndColours(t *testing.T) {
	runOnBothStores(t, func(t *testing.T, e *environment) {
		e.registerSix()
		e.register(newTestController("mc-ap-1", "ap", 90))
		got := e.gcctl(0, "regions").out
		checkContains(t, "regions", got, "3 healthy", "60/300", "20%", "NO", "yes")
		if strings.Contains(got, "█") {
			t.Errorf("there are bars outside of a terminal:\n%s", got)
		}

		e.useTerminal(strings.NewReader(""))
		checkContains(t, "regions in a terminal", e.gcctl(0, "regions").out, "█", "\x1b[31m")
		checkContains(t, "regions without colours", e.gcctl(0, "regions", "--color", "never").out, "█")
		e.env["NO_COLOR"] = "1"
		if got := e.gcctl(0, "regions").out; strings.Contains(got, "\x1b") {
			t.Errorf("there are colours although NO_COLOR is set:\n%q", got)
		}
		checkContains(t, "colours always", e.gcctl(0, "regions", "--color", "always").out, "\x1b[32m")
		e.gcctl(2, "regions", "--color", "pink")
	})
}
