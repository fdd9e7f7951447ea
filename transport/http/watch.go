package httptransport

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"darktower.example/global-controller/endpoints"
	"darktower.example/global-controller/service"
)

const (
	watchPath   = "/api/v1/watch"
	eventStream = "text/event-stream"
	// writeTimeout is how long a client may leave an event unread.
	writeTimeout = 10 * time.Second
	// finalWriteTimeout is the same during the shutdown of the server.
	finalWriteTimeout = time.Second
	// tokenCheckInterval is the time between checks of the token of a watch. A check costs half a microsecond.
	tokenCheckInterval = 5 * time.Second
)

func watchRoute(e endpoints.Endpoints, cfg Config) route {
	return route{
		method:    http.MethodGet,
		pattern:   watchPath,
		operation: "Watch",
		summary:   "Watch the fleet: a snapshot, then every change",
		handler:   &watchHandler{endpoints: e, cfg: cfg},
		query:     []string{"region", "after", "loads"},
		response:  watchBodies{},
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
	w.Header().Set("X-Accel-Buffering", "no") // Proxies that support it forward each event at once.
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}

	out := &eventWriter{Writer: w, ResponseController: http.NewResponseController(w), shutdown: h.cfg.Shutdown}
	// The server's read timeout is for calls that end. With it, the client would seem to have gone when its time to send is over.
	if err := out.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return
	}
	if h.cfg.Shutdown != nil {
		stop := context.AfterFunc(h.cfg.Shutdown, func() { _ = out.SetWriteDeadline(time.Now().Add(finalWriteTimeout)) })
		defer stop()
	}

	if out.write(nil) != nil {
		return // The client has gone.
	}
	if err := h.sendEvents(r.Context(), watch, out); err != nil {
		if data, err := encodeWatchError(err); err == nil {
			_ = out.write(data)
		}
	}
}

// sendEvents writes the events of a watch until it ends, and returns the reason: nil if the client has gone.
func (h *watchHandler) sendEvents(ctx context.Context, watch service.Watch, out *eventWriter) error {
	for checkedAt := time.Now(); ; {
		e, err := watch.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		if time.Since(checkedAt) >= tokenCheckInterval {
			checkedAt = time.Now()
			if err := h.checkToken(ctx); err != nil {
				return err
			}
		}

		data, err := e.EncodeAs(eventStream, encodeWatchEvent)
		if err != nil {
			return err
		}
		if out.write(data) != nil {
			return nil
		}
	}
}

// checkToken returns an error if the caller's token no longer authenticates, nil if it does or if that cannot be decided.
func (h *watchHandler) checkToken(ctx context.Context) error {
	if h.cfg.Authenticator == nil {
		return nil
	}
	_, err := h.cfg.Authenticator.Authenticate(ctx, endpoints.CallFrom(ctx).Authorization)
	if errors.Is(err, service.ErrUnauthenticated) {
		return err
	}
	return nil
}

// eventWriter writes to one client, with a timeout for each event.
type eventWriter struct {
	io.Writer
	*http.ResponseController
	shutdown context.Context //nolint:containedctx // It belongs to the server, not to a call. It may be nil.
}

// write sends data at once. An error means that the client has gone, or does not read.
func (w *eventWriter) write(data []byte) error {
	timeout := writeTimeout
	if w.shutdown != nil && w.shutdown.Err() != nil {
		timeout = finalWriteTimeout
	}
	if err := w.SetWriteDeadline(time.Now().Add(timeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return err
	}
	return w.Flush()
}

func decodeWatchQuery(r *http.Request) (service.WatchQuery, error) {
	var q service.WatchQuery
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
		return q, badInput("loads must be true or false")
	}
	return q, nil
}

// watchCursor returns the position that a watch resumes from. A browser that reconnects by itself repeats the original address and
// adds the last id that it received, which is later. A Last-Event-ID that is not a cursor of this service is ignored if there is a
// parameter.
func watchCursor(parameter, lastEventID string) (after *int64, fingerprint string, _ error) {
	text := lastEventID
	if _, err := service.ParseCursor(lastEventID); err != nil && parameter != "" {
		text = parameter
	}

	if text == "" {
		return nil, "", nil
	}
	c, err := service.ParseCursor(text)
	return &c.ID, c.Fingerprint, err
}
