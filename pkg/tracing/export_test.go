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

type failing struct{ err error }

func (f failing) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return f.err }
func (failing) Shutdown(context.Context) error                               { return nil }

func TestTroubleIsToldOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines bytes.Buffer
		e := &exporter{next: failing{errors.New("down")}, logger: log.NewLogfmtLogger(&lines), life: t.Context()}
		for range 180 { // For 3 minutes.
			if err := e.ExportSpans(t.Context(), make([]sdktrace.ReadOnlySpan, 2)); err != nil {
				t.Fatalf("ExportSpans() = %v, want nil: the SDK would tell its global handler", err)
			}
			time.Sleep(time.Second)
		}
		got := lines.String()
		if n := strings.Count(got, "\n"); n != 3 || strings.Count(got, "lost=120 ") != 2 || strings.Count(got, "lost=2 ") != 1 {
			t.Errorf("the log is\n%s\nwant a line a minute, with what was lost since the one before", got)
		}
	})
}

func TestWhereSpansAreSent(t *testing.T) {
	t.Parallel()
	asked := make(chan *http.Request, 10)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r }))
	defer elsewhere.Close()
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	}))
	defer collector.Close()
	var lines bytes.Buffer
	traces, err := New(Config{
		Endpoint: strings.Replace(collector.URL, "http://", "http://me:hunter2@", 1) + "/base/", SampleRatio: 1, Logger: log.NewLogfmtLogger(&lines),
	})
	if err != nil {
		t.Fatalf("New() = %v", err)
	}
	_, span := traces.tracer.Start(t.Context(), "x")
	span.End()
	traces.Close()
	if got := len(asked); got != 1 {
		t.Fatalf("%d requests, want 1: redirects are not followed", got)
	}
	r := <-asked
	if user, password, _ := r.BasicAuth(); r.URL.Path != "/base/v1/traces" || user != "me" || password != "hunter2" {
		t.Errorf("asked %s as %s with %q, want /base/v1/traces as me", r.URL.Path, user, password)
	}
	if got := lines.String(); !strings.Contains(got, "307") || strings.Contains(got, "hunter2") {
		t.Errorf("the log is %s, want the status and no password", got)
	}
	if _, err := New(Config{Endpoint: "http://me:hunter2@[x"}); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("New() of what is no URL = %v, want an error that does not quote it", err)
	}
}

// TestACollectorThatHangsHoldsUpNobody ends more spans than there is room for.
func TestACollectorThatHangsHoldsUpNobody(t *testing.T) {
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
	if took := time.Since(began); took > sendBound {
		t.Errorf("%d spans took %v, want nobody to wait for the collector", 3*maxQueued, took)
	}
	began = time.Now()
	traces.Close()
	if took := time.Since(began); took > flushBound+sendBound {
		t.Errorf("Close() took %v, want about %v", took, flushBound)
	}
	traces.Close() // Twice is allowed.
}
