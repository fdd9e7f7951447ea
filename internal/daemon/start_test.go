package daemon

import (
	"strings"
	"testing"
)

// TestStart_FirstStartWarnsOfNothing: a new store has no gap to warn of.
func TestStart_FirstStartWarnsOfNothing(t *testing.T) {
	onBothStores(t, func(t *testing.T, databaseURL string) {
		w := newWorld(t, databaseURL, nil).ready()
		// The checker has swept, so that whatever it has to say of the start is said.
		w.until("a sweep", func() bool {
			return strings.Contains(w.get("/metrics", "").body, `gc_health_checker_runs_total{result="held"} `) || strings.Contains(w.log.String(), "hold=true")
		})
		for line := range strings.Lines(w.log.String()) {
			if strings.Contains(line, "level=warn") || strings.Contains(line, "level=error") {
				t.Errorf("logged at a first start: %s", line)
			}
		}
	})
}
