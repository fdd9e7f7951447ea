package browser

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"darktower.example/global-controller/transport/http/web"
)

// controller is a controller of the API.
type controller struct {
	ID                  string         `json:"controller_id"`
	Region              string         `json:"region"`
	GRPCEndpoint        string         `json:"grpc_endpoint"`
	WebTransport        *string        `json:"webtransport_endpoint"`
	MaxMeetings         int            `json:"max_meetings"`
	CurrentMeetings     int            `json:"current_meetings"`
	MaxParticipants     int            `json:"max_participants"`
	CurrentParticipants int            `json:"current_participants"`
	Health              string         `json:"health"`
	OperatorDraining    bool           `json:"operator_draining"`
	Reported            string         `json:"reported_health"`
	Stale               bool           `json:"stale"`
	CPU                 *float64       `json:"cpu_usage_percent"`
	Memory              *float64       `json:"memory_usage_percent"`
	LastHeartbeatAt     time.Time      `json:"last_heartbeat_at"`
	CreatedAt           time.Time      `json:"created_at"`
	UpdatedAt           time.Time      `json:"updated_at"`
	Placement           map[string]any `json:"placement"`
	Drain               map[string]any `json:"drain"`
	Generation          int            `json:"generation"`
	Incarnation         *string        `json:"incarnation"`
	Conflicts           int            `json:"incarnation_conflicts"`
	LastConflictAt      *time.Time     `json:"last_incarnation_conflict_at"`
	Drained             bool           `json:"drained"`
	AsOf                time.Time      `json:"as_of"`
}

type object = map[string]any

// epoch is the time of the store's clock, far from the browser's clock. The page must calculate ages from the store's clock.
var epoch = time.Date(2031, 5, 4, 12, 0, 0, 0, time.UTC)

func newController(id, region, health string) controller {
	reasons := []string{}
	switch health {
	case "unhealthy":
		reasons = append(reasons, "no heartbeat within the staleness threshold")
	case "draining":
		reasons = append(reasons, "an operator is draining it")
	case "pending":
		reasons = append(reasons, "it has registered but not yet reported that it is healthy")
	}

	return controller{
		ID:                  id,
		Region:              region,
		GRPCEndpoint:        "http://" + id + ".example:50052",
		MaxMeetings:         100,
		CurrentMeetings:     30,
		MaxParticipants:     5000,
		CurrentParticipants: 900,
		Health:              health,
		Reported:            health,
		Stale:               health == "unhealthy",
		LastHeartbeatAt:     epoch.Add(-4 * time.Second),
		CreatedAt:           epoch.Add(-72 * time.Hour),
		UpdatedAt:           epoch.Add(-4 * time.Second),
		Placement:           object{"placeable": len(reasons) == 0, "reasons": reasons},
		AsOf:                epoch,
	}
}

// fakeServer serves the files of the page, the watch, and the parts of the API that a test adds.
type fakeServer struct {
	*httptest.Server
	t     *testing.T
	mux   *http.ServeMux
	fleet []controller
	id    int // of the latest event

	mu           sync.Mutex
	stream       chan string // the texts for the watcher; nil if there is none
	streamEnd    chan struct{}
	watchQueries []string
	watchStatus  int // the status of refused watches; 0: watches are accepted
}

const goodToken = "good-token"

func newFakeServer(t *testing.T, fleet ...controller) *fakeServer {
	t.Helper()
	f := &fakeServer{t: t, mux: http.NewServeMux(), fleet: fleet, id: 100}
	for _, p := range web.Pages() {
		f.mux.Handle("GET "+p.Pattern, p)
	}
	f.handle("GET /api/v1/watch", f.serveWatch)
	f.Server = httptest.NewServer(f.mux)
	t.Cleanup(func() {
		f.endStream()
		f.Close()
	})
	return f
}

func (f *fakeServer) handle(pattern string, handler http.HandlerFunc) {
	f.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+goodToken {
			writeError(w, http.StatusUnauthorized, "INVALID_TOKEN", "Invalid token")
			return
		}
		handler(w, r)
	})
}

func writeError(w http.ResponseWriter, status int, code, message string) {
	writeJSON(w, status, object{"error": object{"code": code, "message": message}})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// writeTransitions writes the only page of a history.
func writeTransitions(w http.ResponseWriter, transitions ...object) {
	if transitions == nil {
		transitions = []object{}
	}
	writeJSON(w, http.StatusOK, object{"transitions": transitions, "next_after": 0, "next_before": 0})
}

func (f *fakeServer) serveWatch(w http.ResponseWriter, r *http.Request) {
	stream, streamEnd := make(chan string, 10000), make(chan struct{})
	f.mu.Lock()
	f.watchQueries = append(f.watchQueries, r.URL.RawQuery)
	status := f.watchStatus
	if status == 0 {
		f.stream, f.streamEnd = stream, streamEnd
	}
	f.mu.Unlock()

	if status != 0 {
		writeError(w, status, "SERVICE_UNAVAILABLE", "Service temporarily unavailable")
		return
	}

	w.Header().Set("Content-Type", "text/event-stream")
	if r.URL.Query().Get("after") == "" {
		_, _ = w.Write([]byte(f.encodeSnapshot("start")))
	}
	_ = http.NewResponseController(w).Flush()

	for {
		select {
		case text := <-stream:
			_, _ = w.Write([]byte(text))
			_ = http.NewResponseController(w).Flush()
		case <-streamEnd:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// encodeSnapshot encodes the fleet in parts of at most 500 controllers.
func (f *fakeServer) encodeSnapshot(reason string) string {
	f.mu.Lock()
	defer f.mu.Unlock()

	text := ""
	for i := 0; i == 0 || i < len(f.fleet); i += 500 {
		part := f.fleet[i:min(i+500, len(f.fleet))]
		end := i+500 >= len(f.fleet)
		if end {
			text += fmt.Sprintf("id: %d\n", f.id)
		}
		text += encodeEvent("snapshot", object{
			"as_of":       epoch,
			"begin":       i == 0,
			"end":         end,
			"reason":      reason,
			"controllers": part,
		})
	}
	return text
}

func encodeEvent(name string, data any) string {
	text, err := json.Marshal(data)
	if err != nil {
		return "event: error\n\n"
	}
	return fmt.Sprintf("event: %s\ndata: %s\n\n", name, text)
}

// send waits for a watcher and sends text to it.
func (f *fakeServer) send(text string) {
	f.t.Helper()
	for end := time.Now().Add(waitTimeout); ; time.Sleep(5 * time.Millisecond) {
		f.mu.Lock()
		stream := f.stream
		f.mu.Unlock()
		if stream != nil {
			stream <- text
			return
		}
		if time.Now().After(end) {
			f.t.Fatal("no watcher")
		}
	}
}

// sendChange sends a controller and the transition to its state.
func (f *fakeServer) sendChange(c controller, from string, at time.Time) {
	f.t.Helper()
	f.id++
	change := object{"controller_id": c.ID, "controller": c, "transition": newTransition(f.id, c, from, at)}
	f.send(fmt.Sprintf("id: %d\n", f.id) + encodeEvent("changes", object{"as_of": at, "changes": []any{change}}))
}

func newTransition(id int, c controller, from string, at time.Time) object {
	return object{
		"id":              id,
		"controller_id":   c.ID,
		"region":          c.Region,
		"at":              at,
		"from":            from,
		"to":              c.Health,
		"cause":           "heartbeat",
		"actor":           "mc",
		"reason":          "",
		"silence_ms":      0,
		"reported_health": c.Reported,
	}
}

// endStream ends the stream.
func (f *fakeServer) endStream() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.streamEnd != nil {
		close(f.streamEnd)
	}
	f.stream, f.streamEnd = nil, nil
}

// setWatchStatus makes the server refuse watches with a status, and serve them again for 0.
func (f *fakeServer) setWatchStatus(status int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watchStatus = status
}

func (f *fakeServer) watchQueriesSoFar() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.watchQueries...)
}
