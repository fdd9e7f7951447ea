package gcctl_test

import (
	"strings"
	"testing"
	"time"

	"darktower.example/global-controller/internal/testpg"
)

func TestHistory_PeriodAndLimit(t *testing.T) {
	runOnBothStores(t, func(t *testing.T, e *environment) {
		checkContains(t, "an empty history", e.gcctl(0, "history").err, "no matching transitions")
		e.registerSix()
		lines := strings.Split(strings.TrimSpace(e.gcctl(0, "history").out), "\n")
		if len(lines) != 13 || !strings.Contains(lines[1], "mc-eu-1") || !strings.Contains(lines[12], "mc-us-3") {
			t.Errorf("history = %d lines, want a head and 12, the newest last:\n%s", len(lines), strings.Join(lines, "\n"))
		}

		inOneHour := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
		for args, want := range map[string]int{
			"mc-eu-1":              2,
			"--region us":          6,
			"--limit 5":            5,
			"--limit 12":           12,
			"--since 1h":           12,
			"--since " + inOneHour: 0,
			"--until " + inOneHour: 12,
			"--until 1h":           0,
			"--since 1h --limit 3": 3,
		} {
			command := append([]string{"history", "-o", "json"}, strings.Fields(args)...)
			if got := len(decodeJSON[[]map[string]any](t, e.gcctl(0, command...).out)); got != want {
				t.Errorf("history %s = %d transitions, want %d", args, got, want)
			}
		}

		checkContains(t, "cut", e.gcctl(0, "history", "--since", "1h", "--limit", "3").err, "older transitions are left out")
		for _, args := range []string{"--limit 0", "--since soon", "--since -1h", "--follow --until 1h", "--follow -o yaml", "-o wide"} {
			e.gcctl(2, append([]string{"history"}, strings.Fields(args)...)...)
		}
	})
}

func TestHistoryFollow_PrintsNewTransitions(t *testing.T) {
	runOnBothStores(t, func(t *testing.T, e *environment) {
		e.registerSix()
		text := e.startCommand("history", "--follow", "--region", "eu")
		objects := e.startCommand("history", "mc-eu-2", "--follow", "--limit", "1", "-o", "json")
		e.waitUntil("the old transitions", func() bool {
			return strings.Count(text.out.String(), "\n") == 6 && strings.Count(objects.out.String(), "\n") == 1
		})

		e.gcctl(0, "drain", "mc-eu-2", "mc-us-2", "--yes", "--force", "--reason", "rack 4")
		e.waitUntil("the new transitions", func() bool {
			return strings.Contains(text.out.String(), "rack 4") && strings.Contains(objects.out.String(), `"reason":"rack 4"`)
		})
		if code := text.interrupt(); code != 130 || strings.Contains(text.out.String(), "mc-us-2") || text.errs.String() != "" {
			t.Errorf("history --follow --region = %d, want 130 and only one region\n%s%s", code, text.out, text.errs)
		}
		if code := objects.interrupt(); code != 130 || strings.Count(objects.out.String(), "\n") != 2 {
			t.Errorf("history --follow -o json = %d, want 130 and two objects\n%s%s", code, objects.out, objects.errs)
		}
	})
}

func TestHistoryFollow_ServerRestart(t *testing.T) {
	runOnBothStores(t, func(t *testing.T, e *environment) {
		e.registerSix()
		r := e.startCommand("history", "--follow", "mc-eu-1")
		e.waitUntil("the old transitions", func() bool { return strings.Count(r.out.String(), "\n") == 2 })
		e.stopServer()
		e.waitUntil("a warning", func() bool { return strings.Contains(r.errs.String(), "; retrying") })

		e.startServer()
		e.gcctl(0, "drain", "mc-eu-1", "--yes")
		e.waitUntil("the new transition", func() bool { return strings.Contains(r.out.String(), "healthy → draining") })
		e.waitUntil("a note", func() bool { return strings.Contains(r.errs.String(), "no transition was missed") })
		if code := r.interrupt(); code != 130 || strings.Count(r.out.String(), "\n") != 3 {
			t.Errorf("history --follow = %d, want 130 and each transition once\n%s", code, r.out)
		}
	})
}

func TestHistoryFollow_RestoredBackup(t *testing.T) {
	runOnBothStores(t, func(t *testing.T, e *environment) {
		e.registerSix()
		e.stopServer()
		restore := testpg.Backup(t, e.cfg.DatabaseURL)
		e.startServer()
		r := e.startCommand("history", "--follow")
		e.gcctl(0, "drain", "mc-eu-1", "--yes", "--force", "--reason", "lost")
		e.waitUntil("the transition that will be lost", func() bool { return strings.Contains(r.out.String(), "lost") })

		e.stopServer()
		restore()
		e.startServer()
		for _, id := range []string{"mc-us-1", "mc-us-2", "mc-us-3"} {
			e.gcctl(0, "drain", id, "--yes", "--force", "--reason", "new")
		}
		e.waitUntil("the new transitions", func() bool { return strings.Count(r.out.String(), "new") >= 3 })
		if code := r.interrupt(); code != 130 || strings.Count(r.errs.String(), "the history was replaced") != 1 {
			t.Errorf("history --follow = %d, want 130, and one warning that the history was replaced\n%s", code, r.errs)
		}
	})
}
