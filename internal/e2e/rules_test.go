package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"darktower.example/global-controller/internal/daemon"
)

const deployFolder = "../../deploy"

var (
	// metricName matches the metrics that an expression may read: exported ones, and those that a rule records, which have
	// colons.
	metricName  = regexp.MustCompile(`[a-zA-Z_][\w:]*gc_\w+(:\w+)?|\bgc_\w+`)
	quoted      = regexp.MustCompile(`"[^"]*"`)
	recordLine  = regexp.MustCompile(`(?m)^ +- record: (\S+)$`)
	alertBlock  = regexp.MustCompile(`(?m)^ +- alert: (\w+)\n`)
	commentLine = regexp.MustCompile(`(?m)^\s*#.*$`)
	heading     = regexp.MustCompile(`(?m)^## (GC\w+)$`)
)

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// exportedMetrics returns the names on a page of metrics, after a registration and a heartbeat.
func exportedMetrics(t *testing.T) map[string]bool {
	t.Helper()
	env := newEnvironment(t, sqliteURL(t), nil).waitReady()
	env.registerHealthy("mc-1")
	if got := env.send(viaHTTP, call{"FastHeartbeat", "mc-1", fastHeartbeat(), env.controllerAuth()}); got != (outcome{}) {
		t.Fatalf("heartbeat over HTTP = %v", got)
	}

	names := make(map[string]bool)
	for line := range strings.Lines(env.get("/metrics", "").body) {
		if !strings.HasPrefix(line, "#") {
			name, _, _ := strings.Cut(line, " ")
			name, _, _ = strings.Cut(name, "{")
			names[name] = true
		}
	}
	return names
}

func TestRules_NameExportedMetrics(t *testing.T) {
	t.Parallel()
	names := exportedMetrics(t)
	rules := commentLine.ReplaceAllString(readText(t, filepath.Join(deployFolder, "prometheus/rules.yml")), "")
	for _, match := range recordLine.FindAllStringSubmatch(rules, -1) {
		names[match[1]] = true
	}

	used := 0
	check := func(where, expression string) {
		for _, name := range metricName.FindAllString(quoted.ReplaceAllString(expression, `""`), -1) {
			if used++; !names[name] {
				t.Errorf("%s reads %s, which has no series on /metrics at start and which no rule records: is its name right? "+
					"A counter needs initial label values (initializedCounterVec)", where, name)
			}
		}
	}

	check("rules.yml", rules)
	dashboards, err := filepath.Glob(filepath.Join(deployFolder, "grafana/*.json"))
	if err != nil || len(dashboards) < 3 {
		t.Fatalf("dashboards = %v, %v, want three", dashboards, err)
	}

	for _, file := range dashboards {
		var dashboard any
		if err := json.Unmarshal([]byte(readText(t, file)), &dashboard); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		forEachExpression(dashboard, func(expression string) { check(filepath.Base(file), expression) })
	}
	if used < 100 {
		t.Errorf("found %d names in rules and dashboards, want at least 100: check that they are read", used)
	}
}

// forEachExpression visits each query of a dashboard.
func forEachExpression(value any, visit func(string)) {
	switch v := value.(type) {
	case []any:
		for _, element := range v {
			forEachExpression(element, visit)
		}
	case map[string]any:
		for name, element := range v {
			if text, ok := element.(string); ok && (name == "expr" || name == "query") {
				visit(text)
			}
			forEachExpression(element, visit)
		}
	}
}

func TestAlerts_HaveRunbookEntryAndTest(t *testing.T) {
	t.Parallel()
	rules := readText(t, filepath.Join(deployFolder, "prometheus/rules.yml"))
	tests := readText(t, filepath.Join(deployFolder, "prometheus/rules_test.yml")) +
		readText(t, filepath.Join(deployFolder, "prometheus/rules_hours_test.yml"))

	var headings, alerts []string
	for _, match := range heading.FindAllStringSubmatch(readText(t, "../../docs/runbook.md"), -1) {
		headings = append(headings, match[1])
	}

	blocks := alertBlock.FindAllStringSubmatchIndex(rules, -1)
	for i, at := range blocks {
		name, block := rules[at[2]:at[3]], rules[at[1]:]
		if i+1 < len(blocks) {
			block = rules[at[1]:blocks[i+1][0]]
		}
		alerts = append(alerts, name)

		for _, want := range []string{"runbook_url: docs/runbook.md#" + strings.ToLower(name) + "\n", "summary: ", "description: "} {
			if !strings.Contains(block, want) {
				t.Errorf("alert %s lacks %q", name, want)
			}
		}
		if !strings.Contains(block, "labels: {severity: critical}") && !strings.Contains(block, "labels: {severity: warning}") {
			t.Errorf("alert %s lacks labels: {severity: critical} or {severity: warning} on one line", name)
		}
		if !strings.Contains(tests, `'ALERTS{alertname="`+name+`",alertstate="firing"`) {
			t.Errorf("no test makes alert %s fire: add one to deploy/prometheus/rules_test.yml, or to rules_hours_test.yml for long ranges", name)
		}
	}

	if len(alerts) == 0 {
		t.Error("no alerts found in rules.yml: check alertBlock")
	}
	for _, name := range alerts {
		if !slices.Contains(headings, name) {
			t.Errorf("docs/runbook.md lacks the section ## %s", name)
		}
	}
	for _, name := range headings {
		if !slices.Contains(alerts, name) {
			t.Errorf("docs/runbook.md has the section ## %s, but rules.yml has no such alert", name)
		}
	}
}

func TestServiceDiscovery_NeedsToken(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, func(c *daemon.Config) { c.SDNeedsToken = true }).waitReady()
		env.register("mc-1", with(with(registration(), "region", "eu"), "grpc_endpoint", "https://mc.example"))
		if got := env.get("/sd/controllers", ""); got.status != http.StatusUnauthorized {
			t.Errorf("without a token = %d, want 401", got.status)
		}
		if got := env.get("/sd/controllers", env.issuer.token(nil, nil)); got.status != http.StatusForbidden {
			t.Errorf("with a controller's token = %d, want 403", got.status)
		}

		var groups []struct {
			Targets []string
			Labels  map[string]string
		}
		env.get("/sd/controllers", env.readerToken()).decode(t, &groups)
		if len(groups) != 1 || !slices.Equal(groups[0].Targets, []string{"mc.example:443"}) {
			t.Fatalf("targets = %v, want mc.example:443", groups)
		}
		if labels := groups[0].Labels; labels["__meta_gc_region"] != "eu" || labels["__meta_gc_health"] != "pending" {
			t.Errorf("labels = %v, want pending in eu", labels)
		}
	})
}
