package gcctl_test

import (
	"strings"
	"testing"
)

// eventLine is a line of --watch -o json.
type eventLine struct {
	Event      string                       `json:"event"`
	Transition *struct{ To, Reason string } `json:"transition"`
}

// describeEvents returns the kinds of events, and the states after their transitions.
func describeEvents(t *testing.T, text string) string {
	t.Helper()
	var kinds []string
	for line := range strings.Lines(text) {
		event := decodeJSON[eventLine](t, line)
		if event.Transition != nil {
			event.Event += " " + event.Transition.To
		}
		kinds = append(kinds, event.Event)
	}
	return strings.Join(kinds, ", ")
}

// TestFleetWatch_LinesAndObjects restarts the server during two watches. They resume without gaps and without repetitions.
func TestFleetWatch_LinesAndObjects(t *testing.T) {
	runOnBothStores(t, func(t *testing.T, e *environment) {
		e.registerSix()
		lines := e.startCommand("fleet", "ls", "--watch", "--region", "eu")
		objects := e.startCommand("fleet", "ls", "--watch", "-o", "json", "--id", "mc-eu-1")
		e.waitUntil("the snapshot", func() bool {
			return strings.Contains(lines.out.String(), "3 controllers: 3 healthy") && strings.Contains(objects.out.String(), `"event":"present"`)
		})
		e.gcctl(0, "drain", "mc-eu-1", "mc-us-1", "--yes", "--reason", "rack 4")
		e.waitUntil("a drain", func() bool {
			return strings.Contains(lines.out.String(), "healthy → draining") && strings.Contains(objects.out.String(), "rack 4")
		})

		e.stopServer()
		e.waitUntil("a warning", func() bool { return strings.Contains(lines.errs.String(), "; retrying") })
		e.startServer()
		e.waitUntil("a note", func() bool { return strings.Contains(lines.errs.String(), "is available again") })

		e.gcctl(0, "undrain", "mc-eu-1")
		e.gcctl(0, "deregister", "mc-eu-1", "--yes")
		e.register(newTestController("mc-eu-9", "eu", 0))
		e.waitUntil("the last events", func() bool {
			return strings.Contains(lines.out.String(), "mc-eu-9               eu            pending → healthy") &&
				strings.Contains(objects.out.String(), `"event":"removed"`)
		})

		if code := lines.interrupt(); code != 130 {
			t.Errorf("fleet ls --watch, interrupted = %d, want 130", code)
		}
		if code := objects.interrupt(); code != 130 {
			t.Errorf("fleet ls --watch -o json, interrupted = %d, want 130", code)
		}

		out := lines.out.String()
		checkContains(t, "lines", out, "operator   by dev-admin, rack 4", "draining → healthy", "healthy → -", "- → pending")
		if strings.Contains(out, "mc-us-1") || strings.Count(out, "rack 4") != 1 {
			t.Errorf("want one region only, and each transition once:\n%s", out)
		}
		if got := describeEvents(t, objects.out.String()); got != "present, changed draining, changed healthy, removed " {
			t.Errorf("objects = %s", got)
		}
		if strings.Contains(out, "may have been missed") {
			t.Errorf("the watch did not resume without gaps:\n%s", out)
		}
	})
}

func TestFleetWatch_Terminal(t *testing.T) {
	runOnBothStores(t, func(t *testing.T, e *environment) {
		e.registerSix()
		e.useTerminal(strings.NewReader(""))
		r := e.startCommand("fleet", "ls", "--watch", "--color", "never", "--region", "eu")
		e.useNoTerminal()
		e.waitUntil("the table", func() bool {
			return strings.Contains(r.out.String(), "3 controllers: 3 healthy  (Ctrl-C ends)") && strings.Contains(r.out.String(), "mc-eu-3")
		})

		e.sendHeartbeat(newTestController("mc-eu-2", "eu", 77))
		e.waitUntil("a load", func() bool { return strings.Contains(r.out.String(), "77/100") })
		e.gcctl(0, "drain", "mc-eu-2", "--yes", "--force")
		e.waitUntil("a transition", func() bool {
			return strings.Contains(r.out.String(), "3 controllers: 2 healthy, 1 draining")
		})
		if code := r.interrupt(); code != 130 || !strings.Contains(r.out.String(), "\x1b[5A\r\x1b[J") {
			t.Errorf("fleet ls --watch = %d, want 130, and tables that replace each other\n%q", code, r.out)
		}

		e.gcctl(2, "fleet", "ls", "--watch", "-o", "yaml")
	})
}
