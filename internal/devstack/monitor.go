package devstack

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"darktower.example/global-controller/pkg/devauth"
)

// pollInterval is the interval at which the monitor reads the fleet.
const pollInterval = 250 * time.Millisecond

// monitor reads the fleet over HTTP and prints the changes of its states.
type monitor struct {
	address string
	ac      *devauth.Server
	size    int
	out     *screen
	// onReady is called after the first read. It lets the controllers register.
	onReady func()
	// onAllHealthy is called once, when all controllers are healthy.
	onAllHealthy func()

	startedAt time.Time         // zero until the first read
	states    map[string]string // by controller id
	// hasReportedHealthy and hasReportedDraining are set when the message about the whole fleet was printed.
	hasReportedHealthy  bool
	hasReportedDraining bool
	lastError           string
	token               string
	renewTokenAt        time.Time
}

type monitoredController struct {
	ControllerID    string    `json:"controller_id"`
	Health          string    `json:"health"`
	LastHeartbeatAt time.Time `json:"last_heartbeat_at"`
}

func (m *monitor) run(ctx context.Context) error {
	m.states = make(map[string]string)
	for wait(ctx, pollInterval) {
		controllers, err := m.list(ctx)
		isFirst := m.startedAt.IsZero()

		switch {
		case ctx.Err() != nil:
		case err != nil && isFirst:
			// The service is still starting.
		case err != nil && err.Error() != m.lastError:
			m.lastError = err.Error()
			m.out.printLine("cannot read the fleet: %s", m.lastError)
		case err != nil:
			// The same error was printed before.
		case isFirst:
			// The states that an earlier run has left are the starting point. They are not printed as changes.
			m.recordStates(controllers)
			m.startedAt = time.Now()
			m.onReady()
		default:
			m.lastError = ""
			m.printChanges(controllers)
			m.recordStates(controllers)
			m.reportFleet(controllers)
		}
	}
	return nil
}

// printChanges prints a line for each controller with another state than before.
func (m *monitor) printChanges(controllers []monitoredController) {
	isPresent := make(map[string]bool, len(controllers))
	for _, c := range controllers {
		isPresent[c.ControllerID] = true
		old := m.states[c.ControllerID]
		if old == c.Health {
			continue
		}
		if old == "" {
			old = "new"
		}
		m.out.printLine("%-18s %s -> %s   (last heartbeat %v ago)",
			c.ControllerID, old, c.Health, time.Since(c.LastHeartbeatAt).Round(100*time.Millisecond))
	}

	for id, state := range m.states {
		if !isPresent[id] {
			m.out.printLine("%-18s left the fleet (it was %s)", id, state)
		}
	}
}

func (m *monitor) recordStates(controllers []monitoredController) {
	clear(m.states)
	for _, c := range controllers {
		m.states[c.ControllerID] = c.Health
	}
}

// reportFleet prints once that all controllers are healthy, or that only drains keep some of them from being healthy.
func (m *monitor) reportFleet(controllers []monitoredController) {
	if m.hasReportedHealthy {
		return
	}
	count := make(map[string]int) // by state
	for _, c := range controllers {
		// A state that an earlier run has left does not count.
		if c.LastHeartbeatAt.After(m.startedAt) {
			count[c.Health]++
		}
	}

	healthy, draining := count["healthy"], count["draining"]
	if healthy >= m.size {
		m.hasReportedHealthy = true
		m.out.printLine("all %d controllers are healthy", m.size)
		m.onAllHealthy()
		return
	}
	if !m.hasReportedDraining && draining > 0 && healthy+draining >= m.size {
		m.hasReportedDraining = true
		m.out.printLine("%d of %d controllers are healthy, %d draining; `gcctl undrain` ends a drain", healthy, m.size, draining)
	}
}

// list reads all pages of the fleet.
func (m *monitor) list(ctx context.Context) (controllers []monitoredController, err error) {
	if time.Now().After(m.renewTokenAt) {
		if m.token, err = m.ac.Token("dev-watcher", map[string]any{"scope": "gc:read"}); err != nil {
			return nil, err
		}
		m.renewTokenAt = time.Now().Add(devauth.TokenLife / 2)
	}

	for page := ""; ; {
		var response struct {
			Controllers   []monitoredController `json:"controllers"`
			NextPageToken string                `json:"next_page_token"`
		}
		if err := m.get(ctx, "/api/v1/controllers?page_size=1000&page_token="+page, &response); err != nil {
			return nil, err
		}

		controllers = append(controllers, response.Controllers...)
		page = response.NextPageToken
		if page == "" {
			return controllers, nil
		}
	}
}

func (m *monitor) get(ctx context.Context, path string, result any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, m.address+path, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+m.token)

	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	return json.NewDecoder(response.Body).Decode(result)
}
