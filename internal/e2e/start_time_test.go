//go:build !race

package e2e

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"darktower.example/global-controller/internal/testpg"
)

// startLimit is how long a start over SQLite may take, from the process to /ready.
const startLimit = 200 * time.Millisecond

// TestStart_ReadyInTime measures the built command. "make measure" runs it alone and without the race detector.
func TestStart_ReadyInTime(t *testing.T) {
	for name, database := range map[string]struct {
		url   func(t *testing.T) string
		limit time.Duration
	}{
		"sqlite, first start": {sqliteURL, startLimit},
		"sqlite, restart": {func(t *testing.T) string {
			url := sqliteURL(t)
			newEnvironment(t, url, nil).waitReady().shutDown()
			return url
		}, startLimit},
		"postgres, first start": {func(t *testing.T) string { return testpg.URL(t) }, 3 * startLimit},
	} {
		t.Run(name, func(t *testing.T) {
			i := newIssuer(t)
			if _, err := buildDaemon(); err != nil {
				t.Fatal(err)
			}

			var took []time.Duration
			for range 10 {
				url := database.url(t)
				began := time.Now()
				p := startProcess(t, "DATABASE_URL="+url, "AC_JWKS_URL="+i.server.URL)
				p.waitReady(t)
				took = append(took, time.Since(began))
				_ = p.cmd.Process.Kill()
				_ = p.wait(t)
			}

			slices.Sort(took)
			t.Logf("ready after %v to %v, median %v", took[0], took[9], took[5])
			if took[5] > database.limit {
				t.Errorf("ready after %v (median), want at most %v", took[5], database.limit)
			}
		})
	}
}

// waitReady polls /ready at a short interval, because the time is measured.
func (p *process) waitReady(t *testing.T) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for deadline := time.Now().Add(waitTimeout); ; time.Sleep(2 * time.Millisecond) {
		response, err := client.Get("http://" + p.http + "/ready")
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("not ready within %v; log:\n%s", waitTimeout, p.log)
		}
	}
}
