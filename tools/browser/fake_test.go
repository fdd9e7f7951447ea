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

// controller has the fields of the API.
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

// epoch is the store's clock in these tests, far from the browser's: ages must come from here.
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
		ID: id, Region: region, GRPCEndpoint: "http://" + id + ".example:50052", MaxMeetings: 100, CurrentMeetings: 30, MaxParticipants: 5000, CurrentParticipants: 900,
		Health: health, Reported: health, Stale: health == "unhealthy", LastHeartbeatAt: epoch.Add(-4 * time.Second), CreatedAt: epoch.Add(-72 * time.Hour), UpdatedAt: epoch.Add(-4 * time.Second),
		Placement: object{"placeable": len(reasons) == 0, "reasons": reasons}, AsOf: epoch,
	}
}

// fakeGC serves the page's files and speaks the API as far as a test says.
type fakeGC struct {
	*httptest.Server
	t      *testing.T
	mux    *http.ServeMux
	mu     sync.Mutex
	stream chan string // what the reader is sent; nil when there is none
	cut    chan struct{}
	asked  []string // the queries of the watch
	fleet  []controller
	id     int
	refuse int // the status of the watch, when not 0
}

const goodToken = "good-token"

func newFakeGC(t *testing.T, fleet ...controller) *fakeGC {
	t.Helper()
	f := &fakeGC{t: t, mux: http.NewServeMux(), fleet: fleet, id: 100}
	for _, p := range web.Pages() {
		f.mux.Handle("GET "+p.Pattern, p)
	}
	f.handle("GET /api/v1/watch", f.watch)
	f.Server = httptest.NewServer(f.mux)
	t.Cleanup(func() { f.hangUp(); f.Close() })
	return f
}

func (f *fakeGC) handle(pattern string, handler http.HandlerFunc) {
	f.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+goodToken {
			fail(w, http.StatusUnauthorized, "INVALID_TOKEN", "Invalid token")
			return
		}
		handler(w, r)
	})
}

func fail(w http.ResponseWriter, status int, code, message string) {
	answer(w, status, object{"error": object{"code": code, "message": message}})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func (f *fakeGC) watch(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.asked = append(f.asked, r.URL.RawQuery)
	stream, cut, refuse := make(chan string, 10000), make(chan struct{}), f.refuse
	if refuse == 0 {
		f.stream, f.cut = stream, cut
	}
	f.mu.Unlock()
	if refuse != 0 {
		fail(w, refuse, "SERVICE_UNAVAILABLE", "Service temporarily unavailable")
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	if r.URL.Query().Get("after") == "" {
		_, _ = w.Write([]byte(f.snapshot("start")))
	}
	_ = http.NewResponseController(w).Flush()
	for {
		select {
		case text := <-stream:
			_, _ = w.Write([]byte(text))
			_ = http.NewResponseController(w).Flush()
		case <-cut:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// snapshot is the whole fleet in parts of at most 500.
func (f *fakeGC) snapshot(reason string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	text := ""
	for i := 0; i == 0 || i < len(f.fleet); i += 500 {
		part := f.fleet[i:min(i+500, len(f.fleet))]
		end := i+500 >= len(f.fleet)
		if end {
			text += fmt.Sprintf("id: %d\n", f.id)
		}
		text += event("snapshot", object{"as_of": epoch, "begin": i == 0, "end": end, "reason": reason, "controllers": part})
	}
	return text
}

func event(name string, data any) string {
	text, err := json.Marshal(data)
	if err != nil {
		return "event: error\n\n"
	}
	return fmt.Sprintf("event: %s\ndata: %s\n\n", name, text)
}

// send waits for a reader and sends text to it.
func (f *fakeGC) send(text string) {
	f.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		f.mu.Lock()
		stream := f.stream
		f.mu.Unlock()
		if stream != nil {
			stream <- text
			return
		}
		if time.Now().After(end) {
			f.t.Fatal("nobody watches")
		}
	}
}

// change sends one controller, and the change of its state that came with it.
func (f *fakeGC) change(c controller, from string, at time.Time) {
	f.t.Helper()
	f.id++
	f.send(fmt.Sprintf("id: %d\n", f.id) + event("changes", object{"as_of": at, "changes": []any{object{"controller_id": c.ID, "controller": c, "transition": transition(f.id, c, from, at)}}}))
}

func transition(id int, c controller, from string, at time.Time) object {
	return object{
		"id": id, "controller_id": c.ID, "region": c.Region, "at": at, "from": from, "to": c.Health, "cause": "heartbeat", "actor": "mc", "reason": "",
		"silence_ms": 0, "reported_health": c.Reported,
	}
}

// hangUp ends the stream.
func (f *fakeGC) hangUp() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cut != nil {
		close(f.cut)
	}
	f.stream, f.cut = nil, nil
}

// refuseWatch has the next readers answered with a status; 0: served.
func (f *fakeGC) refuseWatch(status int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = status
}

func (f *fakeGC) queries() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.asked...)
}
