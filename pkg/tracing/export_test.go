package tracing

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-kit/log"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

type failingExporter struct{ err error }

func (f failingExporter) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return f.err }
func (failingExporter) Shutdown(context.Context) error                               { return nil }

func TestExporter_LogsFailuresOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines bytes.Buffer
		e := &exporter{next: failingExporter{errors.New("down")}, logger: log.NewLogfmtLogger(&lines), ctx: t.Context()}
		for range 180 { // For 3 minutes.
			if err := e.ExportSpans(t.Context(), make([]sdktrace.ReadOnlySpan, 2)); err != nil {
				t.Fatalf("ExportSpans() = %v, want nil: the SDK would call its global error handler", err)
			}
			time.Sleep(time.Second)
		}
		got := lines.String()
		if n := strings.Count(got, "\n"); n != 3 || strings.Count(got, "lost=120 ") != 2 || strings.Count(got, "lost=2 ") != 1 {
			t.Errorf("the log is\n%s\nwant a line a minute, with the spans lost since the previous line", got)
		}
	})
}

func TestNew_SendsToTheEndpoint(t *testing.T) {
	t.Parallel()
	requests := make(chan *http.Request, 10)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { requests <- r }))
	defer elsewhere.Close()
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests <- r
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	}))
	defer collector.Close()

	var lines bytes.Buffer
	traces, err := New(Config{
		Endpoint:    strings.Replace(collector.URL, "http://", "http://me:hunter2@", 1) + "/base/",
		SampleRatio: 1,
		Logger:      log.NewLogfmtLogger(&lines),
	})
	if err != nil {
		t.Fatalf("New() = %v", err)
	}

	_, span := traces.tracer.Start(t.Context(), "x")
	span.End()
	traces.Close()

	if got := len(requests); got != 1 {
		t.Fatalf("%d requests, want 1: redirects are not followed", got)
	}

	r := <-requests
	if user, password, _ := r.BasicAuth(); r.URL.Path != "/base/v1/traces" || user != "me" || password != "hunter2" {
		t.Errorf("request %s as %s with %q, want /base/v1/traces as me", r.URL.Path, user, password)
	}
	if got := lines.String(); !strings.Contains(got, "307") || strings.Contains(got, "hunter2") {
		t.Errorf("the log is %s, want the status and no password", got)
	}
	if _, err := New(Config{Endpoint: "http://me:hunter2@[x"}); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("New(not a URL) = %v, want an error that does not quote it", err)
	}
}

// TestTracing_SlowCollectorBlocksNoCall ends more spans than the queue holds.
func TestTracing_SlowCollectorBlocksNoCall(t *testing.T) {
	t.Parallel()
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	defer collector.Close()
	traces, err := New(Config{Endpoint: collector.URL, SampleRatio: 1, Logger: log.NewNopLogger()})
	if err != nil {
		t.Fatalf("New() = %v", err)
	}

	began := time.Now()
	for range 3 * maxQueued {
		_, span := traces.tracer.Start(t.Context(), "x")
		span.End()
	}
	if took := time.Since(began); took > sendTimeout {
		t.Errorf("%d spans took %v, want no call to wait for the collector", 3*maxQueued, took)
	}

	began = time.Now()
	traces.Close()
	if took := time.Since(began); took > flushTimeout+sendTimeout {
		t.Errorf("Close() took %v, want about %v", took, flushTimeout)
	}

	traces.Close() // Twice is allowed.
}
