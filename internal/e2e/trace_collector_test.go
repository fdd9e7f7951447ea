package e2e

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// collector receives spans as an OpenTelemetry collector does.
type collector struct {
	t      *testing.T
	server *httptest.Server

	mu       sync.Mutex
	received strings.Builder // all bodies
	spans    []*tracepb.Span
	resource map[string]string
}

func newCollector(t *testing.T) *collector {
	c := &collector{t: t}
	c.server = httptest.NewServer(c)
	t.Cleanup(c.server.Close)
	return c
}

// ServeHTTP implements [http.Handler].
func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	data, err := io.ReadAll(r.Body)
	var request tracepb.TracesData // The same on the wire as an ExportTraceServiceRequest.
	if err == nil {
		err = proto.Unmarshal(data, &request)
	}
	contentType := r.Header.Get("Content-Type")
	if err != nil || r.Method != http.MethodPost || r.URL.Path != "/v1/traces" || contentType != "application/x-protobuf" {
		c.t.Errorf("%s %s with %s: %v, want POST /v1/traces with spans", r.Method, r.URL.Path, contentType, err)
	}

	c.received.Write(data)
	for _, of := range request.GetResourceSpans() {
		c.resource = attributes(of.GetResource().GetAttributes())
		for _, in := range of.GetScopeSpans() {
			c.spans = append(c.spans, in.GetSpans()...)
		}
	}
	w.WriteHeader(http.StatusOK)
}

func attributes(pairs []*commonpb.KeyValue) map[string]string {
	found := make(map[string]string)
	for _, p := range pairs {
		found[p.GetKey()] = p.GetValue().GetStringValue()
		if n := p.GetValue().GetIntValue(); n != 0 {
			found[p.GetKey()] = fmt.Sprint(n)
		}
	}
	return found
}

// spansOf returns the spans of a trace and their names, in the order of their start.
func (c *collector) spansOf(traceID string) (spans []*tracepb.Span, names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		if hex.EncodeToString(s.GetTraceId()) == traceID {
			spans = append(spans, s)
		}
	}

	slices.SortFunc(spans, func(a, b *tracepb.Span) int { return int(a.GetStartTimeUnixNano()) - int(b.GetStartTimeUnixNano()) })
	for _, s := range spans {
		names = append(names, s.GetName())
	}
	return spans, names
}

// callersSpan is the span of the caller in its trace.
const callersSpan = "00f067aa0ba902b7"

// The flags of a traceparent.
const (
	recorded    = "01"
	notRecorded = "00"
)

func traceID(n int) string { return fmt.Sprintf("4bf92f3577b34da6a3ce929d0e0e%04x", n) }

func traceparent(n int, flags string) string {
	return "00-" + traceID(n) + "-" + callersSpan + "-" + flags
}

// recordTraceparents returns an address that forwards requests to another one, and sends the traceparent of each.
func recordTraceparents(t *testing.T, address string, sent chan<- string) string {
	t.Helper()
	target, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = &http.Transport{DisableKeepAlives: true}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent <- r.Header.Get("Traceparent")
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}
