package devstack

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"darktower.example/global-controller/pkg/devauth"
)

// pollInterval is how often the monitor asks for the fleet.
const pollInterval = 250 * time.Millisecond

// monitor asks for the fleet over HTTP and prints what changed.
type monitor struct {
	address    string
	ac         *devauth.Server
	size       int
	out        *screen
	allHealthy func()
	// onReady lets the fleet start: the service is ready, and what was there before is known.
	onReady   func()
	started   time.Time
	states    map[string]string
	announced bool
	// excused: it has been said why not all are healthy.
	excused bool
	trouble string
	token   string
	renewAt time.Time
}

type shownController struct {
	ControllerID    string    `json:"controller_id"`
	Health          string    `json:"health"`
	LastHeartbeatAt time.Time `json:"last_heartbeat_at"`
}

func (m *monitor) run(ctx context.Context) error {
	m.states = make(map[string]string)
	first := true
	for wait(ctx, pollInterval) {
		fleet, err := m.list(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil && first:
			// The service is still starting.
		case err != nil && err.Error() != m.trouble:
			m.trouble = err.Error()
			m.out.line("the fleet cannot be read: %s", m.trouble)
		case err == nil:
			m.trouble = ""
			// What an earlier run left behind is where this one begins, not a change.
			m.show(fleet, first)
			if first {
				m.started, first = time.Now(), false
				m.onReady()
			}
		}
	}
	return nil
}

func (m *monitor) show(fleet []shownController, first bool) {
	heard := make(map[string]int) // by state
	for _, c := range fleet {
		if old := m.states[c.ControllerID]; !first && old != c.Health {
			if old == "" {
				old = "new"
			}
			m.out.line("%-18s %s -> %s   (last heartbeat %v ago)", c.ControllerID, old, c.Health, time.Since(c.LastHeartbeatAt).Round(100*time.Millisecond))
		}
		m.states[c.ControllerID] = c.Health
		// A state that an earlier run left behind does not count.
		if c.LastHeartbeatAt.After(m.started) {
			heard[c.Health]++
		}
	}
	m.showGone(fleet)
	healthy, draining := heard["healthy"], heard["draining"]
	if !first && !m.announced && healthy >= m.size {
		m.announced = true
		m.out.line("all %d controllers are healthy", m.size)
		m.allHealthy()
	}
	if !first && !m.announced && !m.excused && draining > 0 && healthy+draining >= m.size {
		m.excused = true
		m.out.line("%d of %d controllers are healthy, %d draining; `gcctl undrain` ends a drain", healthy, m.size, draining)
	}
}

// showGone shows who has left the fleet.
func (m *monitor) showGone(fleet []shownController) {
	there := make(map[string]bool, len(fleet))
	for _, c := range fleet {
		there[c.ControllerID] = true
	}
	for id, state := range m.states {
		if !there[id] {
			m.out.line("%-18s %s -> gone", id, state)
			delete(m.states, id)
		}
	}
}

// list reads every page of the fleet.
func (m *monitor) list(ctx context.Context) (fleet []shownController, err error) {
	if time.Now().After(m.renewAt) {
		if m.token, err = m.ac.Token("dev-watcher", map[string]any{"scope": "gc:read"}); err != nil {
			return nil, err
		}
		m.renewAt = time.Now().Add(devauth.TokenLife / 2)
	}
	for page := ""; ; {
		var answer struct {
			Controllers   []shownController `json:"controllers"`
			NextPageToken string            `json:"next_page_token"`
		}
		if err := m.get(ctx, "/api/v1/controllers?page_size=1000&page_token="+page, &answer); err != nil {
			return nil, err
		}
		fleet = append(fleet, answer.Controllers...)
		if page = answer.NextPageToken; page == "" {
			return fleet, nil
		}
	}
}

func (m *monitor) get(ctx context.Context, path string, into any) error {
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
	return json.NewDecoder(response.Body).Decode(into)
}
