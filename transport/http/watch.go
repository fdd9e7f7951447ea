package httptransport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"

	"darktower.example/global-controller/endpoints"
	"darktower.example/global-controller/service"
	"darktower.example/global-controller/transport"
)

const (
	watchPath   = "/api/v1/watch"
	eventStream = "text/event-stream"
	// watchWriteBound is how long a caller may leave what it is sent unread; and, when the server is to stop, lastWriteBound.
	watchWriteBound, lastWriteBound = 10 * time.Second, time.Second
	// tokenCheck is how often the token of a watch is looked at again. Looking costs half a microsecond.
	tokenCheck = 5 * time.Second
)

const watchDescription = "Server-sent events. `snapshot` has a part of the fleet: with `begin` everything known before is void, with `end` it is complete. " +
	"`changes` has what changed, `loads` (when asked for) loads, `beat` nothing but the time, every 5 s; `error` comes last, when the watch is over. " +
	"The `data` of each has those members that its name stands for. The last `id` is what to give as `after`, " +
	"or as the header Last-Event-ID, which counts for more, to go on; " +
	"where it does not belong to this history, the whole fleet follows with the reason `gone`."

type snapshotBody struct {
	AsOf        time.Time        `json:"as_of"`
	Begin       bool             `json:"begin"`
	End         bool             `json:"end"`
	Reason      string           `json:"reason"`
	Controllers []controllerBody `json:"controllers"`
}

type changeBody struct {
	ControllerID string          `json:"controller_id"`
	Controller   *controllerBody `json:"controller"`
	Transition   *transitionBody `json:"transition"`
}

type changesBody struct {
	AsOf    time.Time    `json:"as_of"`
	Changes []changeBody `json:"changes"`
}

type loadBody struct {
	ControllerID        string    `json:"controller_id"`
	CurrentMeetings     int64     `json:"current_meetings"`
	CurrentParticipants int64     `json:"current_participants"`
	CPUUsagePercent     *float64  `json:"cpu_usage_percent"`
	MemoryUsagePercent  *float64  `json:"memory_usage_percent"`
	LastHeartbeatAt     time.Time `json:"last_heartbeat_at"`
	Drained             bool      `json:"drained"`
}

type loadsBody struct {
	AsOf  time.Time  `json:"as_of"`
	Loads []loadBody `json:"loads"`
}

type beatBody struct {
	AsOf time.Time `json:"as_of"`
}

// watchBodies describes the data of all kinds of events.
type watchBodies struct {
	AsOf        time.Time        `json:"as_of"`
	Begin       bool             `json:"begin"`
	End         bool             `json:"end"`
	Reason      string           `json:"reason"`
	Controllers []controllerBody `json:"controllers"`
	Changes     []changeBody     `json:"changes"`
	Loads       []loadBody       `json:"loads"`
}

func watchRoute(e endpoints.Endpoints, cfg Config) route {
	return route{
		method: http.MethodGet, pattern: watchPath, operation: "Watch", summary: "The fleet as it is, then what changes", handler: &watchHandler{e, cfg},
		query: []string{"region", "after", "loads"}, response: watchBodies{},
	}
}

// watchHandler serves watches as server-sent events.
type watchHandler struct {
	endpoints endpoints.Endpoints
	cfg       Config
}

// ServeHTTP implements [http.Handler].
func (h *watchHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q, err := decodeWatchQuery(r)
	watch, err := h.endpoints.Watch.Call(r.Context(), q, err)
	if err != nil {
		writeError(w, err)
		return
	}
	defer watch.Close()
	w.Header().Set("Content-Type", eventStream)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // Proxies that know it pass on each event at once.
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	out := &eventWriter{w, http.NewResponseController(w), h.cfg.Draining}
	// The server's bounds are for calls that end. Without this one, a caller would seem gone when its time to send is over.
	if err := out.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return
	}
	if h.cfg.Draining != nil {
		stop := context.AfterFunc(h.cfg.Draining, func() { _ = out.SetWriteDeadline(time.Now().Add(lastWriteBound)) })
		defer stop()
	}
	if out.write(nil) != nil {
		return // Nobody is there to be told anything.
	}
	if err := h.pass(r.Context(), watch, out); err != nil {
		if data, err := encodeWatchError(err); err == nil {
			_ = out.write(data)
		}
	}
}

// pass writes what the watch brings, and returns why it is over: nil when the caller has gone away.
func (h *watchHandler) pass(ctx context.Context, watch service.Watch, out *eventWriter) error {
	for checked := time.Now(); ; {
		e, err := watch.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		if time.Since(checked) >= tokenCheck {
			checked = time.Now()
			if err := h.lockedOut(ctx); err != nil {
				return err
			}
		}
		data, err := e.Encoded(eventStream, encodeWatchEvent)
		if err != nil {
			return err
		}
		if out.write(data) != nil {
			return nil
		}
	}
}

// lockedOut tells why the caller's token no longer authenticates, nil when it does or when nobody can tell.
func (h *watchHandler) lockedOut(ctx context.Context) error {
	if h.cfg.Authenticator == nil {
		return nil
	}
	_, err := h.cfg.Authenticator.Authenticate(ctx, endpoints.CallFrom(ctx).Authorization)
	if errors.Is(err, service.ErrUnauthenticated) {
		return err
	}
	return nil
}

// eventWriter writes to one caller, for as long as that may take.
type eventWriter struct {
	io.Writer
	*http.ResponseController
	draining context.Context //nolint:containedctx // It is no call's context but the server's own life.
}

// write passes data on at once. Its error says that the caller has gone away, or does not read.
func (w *eventWriter) write(data []byte) error {
	bound := watchWriteBound
	if w.draining != nil && w.draining.Err() != nil {
		bound = lastWriteBound
	}
	if err := w.SetWriteDeadline(time.Now().Add(bound)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return err
	}
	return w.Flush()
}

func decodeWatchQuery(r *http.Request) (q service.WatchQuery, err error) {
	values, err := fromQuery(r, "region", "after", "loads")
	if err != nil {
		return q, err
	}
	q.Region = values.Get("region")
	if q.After, q.Fingerprint, err = watchCursor(values.Get("after"), r.Header.Get("Last-Event-ID")); err != nil {
		return q, err
	}
	switch values.Get("loads") {
	case "", "false":
	case "true":
		q.Loads = true
	default:
		return q, unreadable("loads must be true or false")
	}
	return q, nil
}

// watchCursor reads where a watch goes on. A browser that connects again by itself repeats the address that it was given
// at first, and adds the last id that it received: that is the later one.
func watchCursor(parameter, lastEventID string) (after *int64, fingerprint string, _ error) {
	given := lastEventID
	if _, err := service.ParseCursor(lastEventID); err != nil && parameter != "" {
		given = parameter
	}
	if given == "" {
		return nil, "", nil
	}
	c, err := service.ParseCursor(given)
	return &c.ID, c.Fingerprint, err
}

// encodeWatchEvent writes an event as the stream has it. JSON has no line breaks, so one line of data is enough.
func encodeWatchEvent(e service.WatchEvent) ([]byte, error) {
	asOf := e.AsOf.UTC()
	switch {
	case e.Snapshot != nil:
		body := snapshotBody{asOf, e.Snapshot.Begin, e.Snapshot.End, e.Snapshot.Reason, make([]controllerBody, 0, len(e.Snapshot.Controllers))}
		for _, c := range e.Snapshot.Controllers {
			body.Controllers = append(body.Controllers, controllerToBody(*c))
		}
		return encodeEvent(e.Cursor(), "snapshot", body)
	case e.Changes != nil:
		body := changesBody{asOf, make([]changeBody, 0, len(e.Changes))}
		for _, c := range e.Changes {
			body.Changes = append(body.Changes, changeToBody(c))
		}
		return encodeEvent(e.Cursor(), "changes", body)
	case e.Loads != nil:
		body := loadsBody{asOf, make([]loadBody, 0, len(e.Loads))}
		for _, l := range e.Loads {
			body.Loads = append(body.Loads, loadBody{
				l.ControllerID, l.CurrentMeetings, l.CurrentParticipants, l.CPUUsagePercent, l.MemoryUsagePercent, l.LastHeartbeatAt.UTC(), l.Drained,
			})
		}
		return encodeEvent(e.Cursor(), "loads", body)
	default:
		return encodeEvent(e.Cursor(), "beat", beatBody{asOf})
	}
}

func changeToBody(c service.WatchChange) changeBody {
	body := changeBody{ControllerID: c.ControllerID}
	if c.Controller != nil {
		shown := controllerToBody(*c.Controller)
		body.Controller = &shown
	}
	if c.Transition != nil {
		shown := transitionToBody(*c.Transition)
		body.Transition = &shown
	}
	return body
}

func encodeWatchError(err error) ([]byte, error) {
	s := transport.StatusOf(err)
	var body errorBody
	body.Error.Code, body.Error.Message = s.Name, s.Message
	return encodeEvent(service.Cursor{}, "error", body)
}

func encodeEvent(c service.Cursor, name string, body any) ([]byte, error) {
	var out bytes.Buffer
	if c.ID != 0 {
		out.WriteString("id: " + c.String() + "\n")
	}
	out.WriteString("event: " + name + "\ndata: ")
	if err := json.MarshalWrite(&out, body); err != nil {
		return nil, fmt.Errorf("encode an event: %w", err)
	}
	out.WriteString("\n\n")
	return out.Bytes(), nil
}
