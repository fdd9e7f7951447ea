package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"darktower.example/global-controller/pkg/devauth"
)

// pollInterval is how often the watcher asks for the fleet.
const pollInterval = 250 * time.Millisecond

// watcher asks for the fleet over HTTP and prints what changed.
type watcher struct {
	address    string
	ac         *devauth.Server
	size       int
	out        *screen
	allHealthy func()
	// begin lets the fleet begin: the service is ready, and what was there before is known.
	begin     func()
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

func (w *watcher) run(ctx context.Context) error {
	w.states = make(map[string]string)
	first := true
	for wait(ctx, pollInterval) {
		fleet, err := w.list(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil && first:
			// The service is still starting.
		case err != nil && err.Error() != w.trouble:
			w.trouble = err.Error()
			w.out.line("the fleet cannot be read: %s", w.trouble)
		case err == nil:
			w.trouble = ""
			// What an earlier run left behind is where this one begins, not a change.
			w.show(fleet, first)
			if first {
				w.started, first = time.Now(), false
				w.begin()
			}
		}
	}
	return nil
}

func (w *watcher) show(fleet []shownController, first bool) {
	heard := make(map[string]int) // by state
	for _, c := range fleet {
		if old := w.states[c.ControllerID]; !first && old != c.Health {
			if old == "" {
				old = "new"
			}
			w.out.line("%-18s %s -> %s   (last heartbeat %v ago)", c.ControllerID, old, c.Health, time.Since(c.LastHeartbeatAt).Round(100*time.Millisecond))
		}
		w.states[c.ControllerID] = c.Health
		// A state that an earlier run left behind does not count.
		if c.LastHeartbeatAt.After(w.started) {
			heard[c.Health]++
		}
	}
	w.showGone(fleet)
	healthy, draining := heard["healthy"], heard["draining"]
	if !first && !w.announced && healthy >= w.size {
		w.announced = true
		w.out.line("all %d controllers are healthy", w.size)
		w.allHealthy()
	}
	if !first && !w.announced && !w.excused && draining > 0 && healthy+draining >= w.size {
		w.excused = true
		w.out.line("%d of %d controllers are healthy, %d draining; `gcctl undrain` ends a drain", healthy, w.size, draining)
	}
}

// showGone shows who has left the fleet.
func (w *watcher) showGone(fleet []shownController) {
	there := make(map[string]bool, len(fleet))
	for _, c := range fleet {
		there[c.ControllerID] = true
	}
	for id, state := range w.states {
		if !there[id] {
			w.out.line("%-18s %s -> gone", id, state)
			delete(w.states, id)
		}
	}
}

// list reads every page of the fleet.
func (w *watcher) list(ctx context.Context) (fleet []shownController, err error) {
	if time.Now().After(w.renewAt) {
		if w.token, err = w.ac.Token("dev-watcher", map[string]any{"scope": "gc:read"}); err != nil {
			return nil, err
		}
		w.renewAt = time.Now().Add(devauth.TokenLife / 2)
	}
	for page := ""; ; {
		var answer struct {
			Controllers   []shownController `json:"controllers"`
			NextPageToken string            `json:"next_page_token"`
		}
		if err := w.get(ctx, "/api/v1/controllers?page_size=1000&page_token="+page, &answer); err != nil {
			return nil, err
		}
		fleet = append(fleet, answer.Controllers...)
		if page = answer.NextPageToken; page == "" {
			return fleet, nil
		}
	}
}

func (w *watcher) get(ctx context.Context, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.address+path, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+w.token)
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
