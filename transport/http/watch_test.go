package httptransport

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-kit/log"

	"darktower.example/global-controller/endpoints"
	"darktower.example/global-controller/service"
)

// watchService returns watches that have events, and then end with err.
type watchService struct {
	fakeService
	events []service.WatchEvent
	err    error
	closed chan struct{}
}

func (s *watchService) Watch(_ context.Context, q service.WatchQuery) (service.Watch, error) {
	s.last = q
	if err := q.Validate(); err != nil {
		return nil, err
	}
	return &fakeWatch{s, s.events}, nil
}

type fakeWatch struct {
	service *watchService
	left    []service.WatchEvent
}

func (w *fakeWatch) Next(ctx context.Context) (service.WatchEvent, error) {
	switch {
	case len(w.left) > 0:
		e := w.left[0]
		w.left = w.left[1:]
		return e, nil
	case errors.Is(w.service.err, errPanic):
		panic("on purpose")
	case w.service.err != nil:
		return service.WatchEvent{}, w.service.err
	}
	<-ctx.Done()
	return service.WatchEvent{}, ctx.Err()
}

func (w *fakeWatch) Close() { w.service.closed <- struct{}{} }

var errPanic = io.ErrNoProgress // It stands for a panic.

func TestWatch_EventForms(t *testing.T) {
	share, at := 12.5, time.Unix(1700000000, 0)
	svc := &watchService{err: service.ErrUnauthenticated, closed: make(chan struct{}, 10), events: []service.WatchEvent{
		{
			AsOf: at,
			Snapshot: &service.WatchSnapshot{
				Begin:       true,
				Reason:      service.SnapshotStart,
				Controllers: []*service.Controller{{ControllerID: "a\nb", Health: service.HealthHealthy}},
			},
		},
		{ID: 5, Fingerprint: "0123456789ab", AsOf: at, Snapshot: &service.WatchSnapshot{End: true, Reason: service.SnapshotStart}},
		{
			ID:      6,
			AsOf:    at,
			Changes: []service.WatchChange{{ControllerID: "a", Transition: &service.Transition{ID: 6, From: service.HealthHealthy}}},
		},
		{ID: 6, AsOf: at, Loads: []service.WatchLoad{{ControllerID: "a", CurrentMeetings: 3, CPUUsagePercent: &share, LastHeartbeatAt: at}}},
		{ID: 6, AsOf: at},
	}}

	w := call(newTestHandler(svc, nil), "GET", watchPath+"?region=eu&loads=true&after=4", "", "Last-Event-ID", "7-0123456789ab")
	if q := svc.last.(service.WatchQuery); q.Region != "eu" || !q.Loads || *q.After != 7 || q.Fingerprint != "0123456789ab" {
		t.Errorf("query = %+v, want region, loads and the last event's id, which is later than the parameter after", q)
	}

	for name, want := range map[string]string{"Content-Type": eventStream, "Cache-Control": "no-store", "X-Accel-Buffering": "no"} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}

	if w.Header().Get("X-Request-Id") == "" {
		t.Error("no request id")
	}

	const asOf = `"as_of":"2023-11-14T22:13:20Z"`
	got := strings.Split(w.Body.String(), "\n\n")
	tests := []string{
		"event: snapshot\ndata: {" + asOf + `,"begin":true,"end":false,"reason":"start","controllers":[{"controller_id":"a\nb",`,
		"id: 5-0123456789ab\nevent: snapshot\ndata: {" + asOf + `,"begin":false,"end":true,"reason":"start","controllers":[]}`,
		"id: 6\nevent: changes\ndata: {" + asOf + `,"changes":[{"controller_id":"a","controller":null,"transition":{"id":6,`,
		"id: 6\nevent: loads\ndata: {" + asOf + `,"loads":[{"controller_id":"a","current_meetings":3,"current_participants":0,` +
			`"cpu_usage_percent":12.5,"memory_usage_percent":null,"last_heartbeat_at":"2023-11-14T22:13:20Z","drained":false}]}`,
		"id: 6\nevent: beat\ndata: {" + asOf + "}",
		"event: error\ndata: {\"error\":{\"code\":\"INVALID_TOKEN\",\"message\":\"Invalid token\"}}",
		"",
	}

	for i, want := range tests {
		if i >= len(got) {
			t.Fatalf("the stream ended after %d events, want event %d to begin with\n%q", len(got), i, want)
		}
		if !strings.HasPrefix(got[i], want) {
			t.Errorf("event %d =\n%q, want it to begin with\n%q", i, got[i], want)
		}
	}

	<-svc.closed
	call(newTestHandler(svc, nil), "GET", watchPath, "", "Last-Event-ID", "3")
	if q := svc.last.(service.WatchQuery); q.After == nil || *q.After != 3 {
		t.Errorf("query = %+v, want it to continue after 3", q)
	}

	call(newTestHandler(svc, nil), "GET", watchPath+"?after=4", "", "Last-Event-ID", "of another server")
	if q := svc.last.(service.WatchQuery); q.After == nil || *q.After != 4 {
		t.Errorf("query = %+v, want it to continue after 4, because the last event's id is invalid", q)
	}

	if w := call(newTestHandler(svc, nil), "HEAD", watchPath, ""); w.Code != 200 || w.Body.Len() != 0 ||
		w.Header().Get("Content-Type") != eventStream {
		t.Errorf("HEAD = %d %v %q, want the header only", w.Code, w.Header(), w.Body)
	}
}

func TestWatch_InvalidQueryIsRefused(t *testing.T) {
	for query, want := range map[string]string{
		"?region=a.b":     "region contains invalid characters",
		"?after=-1":       "after must be a whole number, 0 or more",
		"?loads=yes":      "loads must be true or false",
		"?after=1&size=2": "unknown parameter size",
	} {
		if w := call(newTestHandler(&watchService{}, nil), "GET", watchPath+query, ""); w.Code != 400 ||
			!strings.Contains(w.Body.String(), want) {
			t.Errorf("%s = %d %s, want 400 %q", query, w.Code, w.Body, want)
		}
	}
}

// TestWatch_PanicAbortsResponse checks that a panic aborts the response: clients would ignore JSON in the middle of a stream.
func TestWatch_PanicAbortsResponse(t *testing.T) {
	svc := &watchService{err: errPanic, closed: make(chan struct{}, 1), events: []service.WatchEvent{{ID: 1}}}
	var panics atomic.Int32
	server := httptest.NewServer(NewHandler(endpoints.New(svc, noMiddleware), Config{
		Logger:  log.NewNopLogger(),
		Metrics: http.NotFoundHandler(),
		OnPanic: func() { panics.Add(1) },
	}))
	defer server.Close()

	response, err := server.Client().Get(server.URL + watchPath)
	if err != nil {
		t.Fatalf("GET = %v", err)
	}
	defer func() { _ = response.Body.Close() }()

	body, err := io.ReadAll(response.Body)
	if err == nil || strings.Contains(string(body), "error") || panics.Load() != 1 {
		t.Errorf("body = %q, %v after %d panics, want it broken off after one", body, err, panics.Load())
	}

	<-svc.closed
}

// TestWatch_OutlastsCallTimeouts checks that the timeouts of the HTTP server do not end a watch.
func TestWatch_OutlastsCallTimeouts(t *testing.T) {
	svc := &watchService{closed: make(chan struct{}, 1), events: []service.WatchEvent{{ID: 1}}}
	shutdown, beginShutdown := context.WithCancel(t.Context())
	defer beginShutdown()
	server := httptest.NewUnstartedServer(NewHandler(endpoints.New(svc, noMiddleware), Config{
		Logger:   log.NewNopLogger(),
		Metrics:  http.NotFoundHandler(),
		Shutdown: shutdown,
	}))
	server.Config.ReadTimeout, server.Config.WriteTimeout = 50*time.Millisecond, 50*time.Millisecond
	server.Start()
	defer server.Close()
	response, err := server.Client().Get(server.URL + watchPath)
	if err != nil {
		t.Fatalf("GET = %v", err)
	}

	if line, err := bufio.NewReader(response.Body).ReadString('\n'); err != nil || line != "id: 1\n" {
		t.Errorf("body = %q, %v, want the first event", line, err)
	}

	select {
	case <-svc.closed:
		t.Error("the watch ended by itself")
	case <-time.After(300 * time.Millisecond):
	}

	_ = response.Body.Close() // The client disconnects.
	<-svc.closed
}
