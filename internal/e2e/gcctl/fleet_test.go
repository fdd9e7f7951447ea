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

// ids runs fleet ls and returns which controllers it lists.
func (w *world) ids(args ...string) string {
	w.t.Helper()
	var ids []string
	for _, c := range decoded[[]listedController](w.t, w.want(0, append([]string{"fleet", "ls", "-o", "json"}, args...)...).out) {
		ids = append(ids, c.ControllerID)
	}
	return strings.Join(ids, " ")
}

func TestTheFleetIsListedAndPicked(t *testing.T) {
	onBothStores(t, func(t *testing.T, w *world) {
		if got := w.want(0, "fleet", "ls"); got.out != "" || !strings.Contains(got.err, "no controllers") {
			t.Errorf("fleet ls of nobody = %q %q, want the word on the standard error only", got.out, got.err)
		}
		if got := w.ids(); got != "" {
			t.Errorf("fleet ls -o json of nobody = %q, want an empty list", got)
		}
		w.threeEach()
		ill := controllerOf("mc-us-3", "us", 30)
		ill.health = pb.HealthStatus_HEALTH_STATUS_DEGRADED
		w.beat(ill)
		full := controllerOf("mc-us-2", "us", 100)
		w.beat(full)
		w.want(0, "drain", "mc-eu-1", "--yes", "--reason", "rack 4", "--force")
		for _, tc := range []struct{ flags, want string }{
			{"", "mc-eu-1 mc-eu-2 mc-eu-3 mc-us-1 mc-us-2 mc-us-3"},
			{"--region us", "mc-us-1 mc-us-2 mc-us-3"},
			{"--state degraded", "mc-us-3"},
			{"--state degraded,draining", "mc-eu-1 mc-us-3"},
			{"--placeable", "mc-eu-2 mc-eu-3 mc-us-1 mc-us-3"},
			{"--draining", "mc-eu-1"},
			{"--draining --region us", ""},
			{"--id mc-eu", "mc-eu-1 mc-eu-2 mc-eu-3"},
			{"--id *-3", "mc-eu-3 mc-us-3"},
			{"--sort -meetings", "mc-us-2 mc-eu-3 mc-us-3 mc-eu-2 mc-eu-1 mc-us-1"},
			{"--sort state --region us", "mc-us-1 mc-us-2 mc-us-3"},
		} {
			if got := w.ids(strings.Fields(tc.flags)...); got != tc.want {
				t.Errorf("fleet ls %s = %q, want %q", tc.flags, got, tc.want)
			}
		}
		table := w.want(0, "fleet", "ls").out
		contains(t, "fleet ls", table, "ID ", "HEARD", "10/100", "draining (rack 4)", "12%", "34%")
		if strings.Contains(table, "\x1b") {
			t.Errorf("there are colours where there is no terminal:\n%q", table)
		}
		contains(t, "fleet ls -o wide", w.want(0, "fleet", "ls", "-o", "wide").out, "https://mc-eu-1.example:4433", "GEN")
		w.sameAsHTTP(t)
		w.want(2, "fleet", "ls", "--state", "ill")
		w.want(2, "fleet", "ls", "--sort", "beauty")
		w.want(2, "fleet", "ls", "--id", "[")
		w.want(2, "fleet", "ls", "mc-eu-1")
	})
}

// sameAsHTTP holds that gcctl prints what the HTTP API answers.
func (w *world) sameAsHTTP(t *testing.T) {
	t.Helper()
	same := func(what string, command []string, path, field string) {
		t.Helper()
		_, body := w.get(path, "dev-reader")
		var theirs any = decoded[map[string]any](t, string(body))
		if field != "" {
			theirs = theirs.(map[string]any)[field]
		}
		ours := decoded[any](t, w.want(0, append(command, "-o", "json")...).out)
		if diff := cmp.Diff(withoutAsOf(theirs), withoutAsOf(ours)); diff != "" {
			t.Errorf("%s: HTTP has -, gcctl +\n%s", what, diff)
		}
		var fromYAML any
		if err := yaml.Unmarshal([]byte(w.want(0, append(command, "-o", "yaml")...).out), &fromYAML); err != nil {
			t.Fatal(err)
		}
		again, err := json.Marshal(fromYAML)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(timeless(withoutAsOf(theirs)), timeless(withoutAsOf(decoded[any](t, string(again))))); diff != "" {
			t.Errorf("%s: HTTP has -, the YAML +\n%s", what, diff)
		}
	}
	same("fleet", []string{"fleet", "ls"}, "/api/v1/controllers", "controllers")
	same("controller", []string{"fleet", "show", "mc-eu-1"}, "/api/v1/controllers/mc-eu-1", "")
	same("history", []string{"history"}, "/api/v1/transitions", "transitions")
	same("regions", []string{"regions"}, "/api/v1/regions", "regions")
}

// withoutAsOf leaves out what each answer has of its own.
func withoutAsOf(value any) any {
	switch v := value.(type) {
	case []any:
		for i := range v {
			v[i] = withoutAsOf(v[i])
		}
	case map[string]any:
		delete(v, "as_of")
		for k := range v {
			v[k] = withoutAsOf(v[k])
		}
	}
	return value
}

// timeless leaves out times, which YAML writes in a form of its own.
func timeless(value any) any {
	switch v := value.(type) {
	case []any:
		for i := range v {
			v[i] = timeless(v[i])
		}
	case map[string]any:
		for _, k := range []string{"at", "since", "deadline", "created_at", "updated_at", "last_heartbeat_at"} {
			delete(v, k)
		}
		for k := range v {
			v[k] = timeless(v[k])
		}
	}
	return value
}

func TestOneControllerIsShown(t *testing.T) {
	onBothStores(t, func(t *testing.T, w *world) {
		w.threeEach()
		got := w.want(0, "fleet", "show", "mc-eu-2").out
		contains(t, "fleet show", got, "mc-eu-2", "placeable      yes", "20 of 100", "http://mc-eu-2.example:50052", "pending  →  healthy")
		w.want(0, "drain", "mc-eu-2", "--yes", "--reason", "new kernel", "--deadline", "25m30s")
		full := controllerOf("mc-eu-2", "eu", 100)
		w.beat(full)
		got = w.want(0, "fleet", "show", "mc-eu-2").out
		contains(t, "fleet show", got, "no: an operator is draining it", "    it holds as many meetings as it may", "dev-admin", "new kernel", "in 25m", "no: 100 meetings and 500 participants left", "generation     1")
		contains(t, "fleet show of nobody", w.want(3, "fleet", "show", "mc-eu-9").err, "there is no controller mc-eu-9", "gcctl fleet ls")
		w.want(2, "fleet", "show")
		w.want(2, "fleet", "show", "mc-eu-1", "mc-eu-2")
		w.want(2, "fleet", "show", "not an id")
	})
}

func TestRegionsAreAddedUp(t *testing.T) {
	onBothStores(t, func(t *testing.T, w *world) {
		w.threeEach()
		w.register(controllerOf("mc-ap-1", "ap", 90))
		got := w.want(0, "regions").out
		contains(t, "regions", got, "3 healthy", "60/300", "20%", "NO", "yes")
		if strings.Contains(got, "█") {
			t.Errorf("there are bars where there is no terminal:\n%s", got)
		}
		w.typing(strings.NewReader(""))
		contains(t, "regions in a terminal", w.want(0, "regions").out, "█", "\x1b[31m")
		contains(t, "regions without colours", w.want(0, "regions", "--color", "never").out, "█")
		w.env["NO_COLOR"] = "1"
		if got := w.want(0, "regions").out; strings.Contains(got, "\x1b") {
			t.Errorf("NO_COLOR is set, and there are colours:\n%q", got)
		}
		contains(t, "colours always", w.want(0, "regions", "--color", "always").out, "\x1b[32m")
		w.want(2, "regions", "--color", "pink")
	})
}
