package e2e

import (
	"context"
	"encoding/hex"
	"encoding/json"
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
	"time"

	"github.com/google/go-cmp/cmp"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"darktower.example/global-controller/internal/daemon"
	"darktower.example/global-controller/pkg/client"
	pb "darktower.example/global-controller/proto/darktower/v1"
	fleetpb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// collector takes spans as OpenTelemetry's collector does.
type collector struct {
	t        *testing.T
	server   *httptest.Server
	mu       sync.Mutex
	asked    int
	all      string // Everything that was received.
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
	c.asked++
	data, err := io.ReadAll(r.Body)
	var request tracepb.TracesData // The same on the wire as an ExportTraceServiceRequest.
	if err == nil {
		err = proto.Unmarshal(data, &request)
	}
	if err != nil || r.Method != http.MethodPost || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
		c.t.Errorf("%s %s: %v, want POST /v1/traces with spans", r.Method, r.URL.Path, err)
	}

	c.all += string(data)

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

// spansOf returns the spans of a trace, by their names in the order that they began in.
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

// The trace that a caller has begun, and its own span of it.
const callersSpan = "00f067aa0ba902b7"

func traceID(n int) string { return fmt.Sprintf("4bf92f3577b34da6a3ce929d0e0e%04x", n) }

func traceparent(n int, flags string) string {
	return "00-" + traceID(n) + "-" + callersSpan + "-" + flags
}

// registerTraced makes a call over gRPC with a trace.
func (env *environment) registerTraced(id, traceparent string) {
	env.t.Helper()
	ctx := metadata.AppendToOutgoingContext(env.t.Context(), "authorization", *env.controllerAuth(), "traceparent", traceparent)
	if _, err := pb.NewGlobalControllerServiceClient(env.conn).RegisterMC(ctx, &pb.RegisterMCRequest{
		Id: id, Region: "eu-west-1", GrpcEndpoint: "http://mc.example:50052", MaxMeetings: 100, MaxParticipants: 1000,
	}); err != nil {
		env.t.Errorf("RegisterMC() = %v", err)
	}
}

// requestTraced makes a request over HTTP with a trace and returns its status.
func (env *environment) requestTraced(method, path, body, token, traceparent string) int {
	env.t.Helper()
	header := bearer(token)
	header.Set("Traceparent", traceparent)
	return env.request(method, path, body, header).status
}

func (env *environment) openMetrics() string {
	env.t.Helper()
	return env.request(http.MethodGet, "/metrics", "", http.Header{"Accept": {"application/openmetrics-text; version=1.0.0"}}).body
}

// fastBody is a heartbeat over HTTP.
func fastBody(t *testing.T) string {
	t.Helper()
	body, err := json.Marshal(fastHeartbeat())
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// TestTrace_UnauthenticatedCallersForceNothing: anybody can send a traceparent.
func TestTrace_UnauthenticatedCallersForceNothing(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		c := newCollector(t)
		env := newEnvironment(t, databaseURL, func(cfg *daemon.Config) { cfg.TraceEndpoint, cfg.TraceSampleRatio = c.server.URL, 0 }).waitReady()
		for n, token := range map[int]string{1: "", 2: "x", 3: env.issuer.token(nil, map[string]any{"exp": 1})} {
			if got := env.requestTraced(http.MethodGet, "/api/v1/controllers", "", token, traceparent(n, "01")); got != http.StatusUnauthorized {
				t.Errorf("a stranger's list = %d, want 401", got)
			}
			ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token, "traceparent", traceparent(n, "01"))
			_, _ = pb.NewGlobalControllerServiceClient(env.conn).RegisterMC(ctx, &pb.RegisterMCRequest{Id: "mc"})
			stream, err := fleetpb.NewHeartbeatServiceClient(env.conn).StreamHeartbeats(ctx)
			if err == nil {
				_, err = stream.Recv()
			}
			if err == nil {
				t.Error("a stranger's stream is let in")
			}
		}

		// The first call with a token is recorded, although it was never seen before.
		env.registerTraced("mc", traceparent(4, "01"))
		if got := env.openMetrics(); strings.Contains(got, traceID(1)) || !strings.Contains(got, traceID(4)) {
			t.Error("an exemplar names a trace that a stranger asked for, or none the one of a caller with a token")
		}
		env.shutDown()
		for n := 1; n <= 3; n++ {
			if _, names := c.spansOf(traceID(n)); len(names) > 0 {
				t.Errorf("trace %d of a stranger has spans %q, want none", n, names)
			}
		}

		if _, names := c.spansOf(traceID(4)); len(names) != 2 {
			t.Errorf("the trace of a caller with a token has spans %q, want its call and the store's", names)
		}
	})
}

func TestTrace_ContinuesTheCallersTrace(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		c := newCollector(t)
		sent := make(chan string, 1000)
		env := newEnvironment(t, databaseURL, func(cfg *daemon.Config) {
			cfg.TraceEndpoint, cfg.ID = c.server.URL, "gc-1"
			cfg.JWKSURL = recordTraceparents(t, cfg.JWKSURL, sent)
		}).waitReady()
		token := strings.TrimPrefix(*env.controllerAuth(), "Bearer ")
		env.registerTraced("mc", traceparent(1, "01"))
		if got := env.requestTraced(http.MethodPost, "/api/v1/controllers/mc/heartbeats/fast", fastBody(t), token, traceparent(2, "01")); got != http.StatusOK {
			t.Errorf("a heartbeat = %d, want 200", got)
		}

		if got := env.requestTraced(http.MethodGet, "/api/v1/controllers/nobody", "", env.readerToken(), traceparent(3, "01")); got != http.StatusNotFound {
			t.Errorf("an unknown controller = %d, want 404", got)
		}
		if got := env.requestTraced(http.MethodGet, "/api/v1/controllers", "", token, traceparent(4, "01")); got != http.StatusForbidden {
			t.Errorf("a list without the right = %d, want 403", got)
		}

		// What the caller does not record we do not either.
		env.registerTraced("mc", traceparent(5, "00"))
		env.requestTraced(http.MethodPost, "/api/v1/controllers/mc/heartbeats/fast", fastBody(t), token, traceparent(6, "00"))

		// Probes, and what nobody serves.
		for i, path := range []string{"/health", "/ready", "/metrics", "/openapi.json", "/nowhere"} {
			env.requestTraced(http.MethodGet, path, "", "", traceparent(7+i, "01"))
		}
		ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", traceparent(12, "01"))
		if _, err := healthgrpc.NewHealthClient(env.conn).Check(ctx, &healthgrpc.HealthCheckRequest{}); err != nil {
			t.Errorf("Check() = %v", err)
		}

		metrics := env.openMetrics()
		for n, recorded := range map[int]bool{1: true, 2: true, 3: true, 4: true, 5: false, 6: false, 9: false} {
			if got := strings.Contains(metrics, `# {trace_id="`+traceID(n)+`"}`); got != recorded {
				t.Errorf("an exemplar with trace %d: %v, want %v", n, got, recorded)
			}
		}

		if strings.Contains(env.get("/metrics", "").body, "trace_id") {
			t.Error("the older text format has exemplars, want none: it knows no such thing")
		}
		for n := 1; n <= 6; n++ {
			if line := " trace_id=" + traceID(n) + "\n"; !strings.Contains(env.log.String(), line) {
				t.Errorf("the log lacks %s", line)
			}
		}

		env.shutDown() // Whatever is left is sent now.

		for _, want := range []struct {
			trace      int
			names      []string
			attributes map[string]string
			failed     bool
		}{
			{1, []string{"dark_tower.internal.v1.GlobalControllerService/RegisterMC", "store register"}, map[string]string{
				"rpc.system.name": "grpc", "rpc.method": "dark_tower.internal.v1.GlobalControllerService/RegisterMC", "rpc.response.status_code": "OK",
				"gc.operation": "RegisterMC", "gc.transport": "grpc", "gc.controller_id": "mc",
			}, false},
			{2, []string{"POST /api/v1/controllers/{id}/heartbeats/fast", "store heartbeat"}, map[string]string{
				"http.request.method": "POST", "http.route": "/api/v1/controllers/{id}/heartbeats/fast", "http.response.status_code": "200",
				"gc.operation": "FastHeartbeat", "gc.transport": "http", "gc.controller_id": "mc",
			}, false},
			{3, []string{"GET /api/v1/controllers/{id}", "store controller"}, map[string]string{
				"http.request.method": "GET", "http.route": "/api/v1/controllers/{id}", "http.response.status_code": "404",
				"gc.operation": "GetController", "gc.transport": "http",
			}, false},
			{4, []string{"GET /api/v1/controllers"}, map[string]string{
				"http.request.method": "GET", "http.route": "/api/v1/controllers", "http.response.status_code": "403",
				"gc.operation": "ListControllers", "gc.transport": "http",
			}, false},
		} {
			spans, names := c.spansOf(traceID(want.trace))
			if diff := cmp.Diff(want.names, names); diff != "" {
				t.Errorf("spans of trace %d: -want +got:\n%s", want.trace, diff)
				continue
			}
			if diff := cmp.Diff(want.attributes, attributes(spans[0].GetAttributes())); diff != "" {
				t.Errorf("attributes of %s: -want +got:\n%s", names[0], diff)
			}
			if got := hex.EncodeToString(spans[0].GetParentSpanId()); got != callersSpan {
				t.Errorf("%s has the parent %s, want the caller's span %s", names[0], got, callersSpan)
			}

			for _, s := range spans[1:] {
				if !slices.Equal(s.GetParentSpanId(), spans[0].GetSpanId()) {
					t.Errorf("%s has another parent than the call's span", s.GetName())
				}
			}

			for _, s := range spans {
				if s.GetStatus().GetCode() != tracepb.Status_STATUS_CODE_UNSET {
					t.Errorf("%s has the status %v, want none: it is an answer", s.GetName(), s.GetStatus())
				}
			}
		}

		for n := 5; n <= 12; n++ {
			if _, names := c.spansOf(traceID(n)); len(names) > 0 {
				t.Errorf("trace %d has spans %q, want none", n, names)
			}
		}

		fetched := <-sent
		if _, names := c.spansOf(strings.Split(fetched+"--", "-")[1]); !slices.Equal(names, []string{"fetch keys"}) {
			t.Errorf("the keys were asked for with traceparent %q, whose spans are %q, want [fetch keys]", fetched, names)
		}
		want := map[string]string{"service.name": "global-controller", "service.version": daemon.Version, "service.instance.id": "gc-1", "cloud.region": "us-east-1"}
		if diff := cmp.Diff(want, c.resource); diff != "" {
			t.Errorf("resource: -want +got:\n%s", diff)
		}

		for _, secret := range []string{token, "client-1", "eyJ", "SELECT", "UPDATE"} {
			if strings.Contains(c.all, secret) {
				t.Errorf("the spans hold %q", secret)
			}
		}
	})
}

// recordTraceparents returns an address that passes requests on and tells the traceparent of each.
func recordTraceparents(t *testing.T, address string, sent chan<- string) string {
	t.Helper()
	target, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	pass := httputil.NewSingleHostReverseProxy(target)
	pass.Transport = &http.Transport{DisableKeepAlives: true}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent <- r.Header.Get("Traceparent")
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestTrace_FailingCollectorAffectsNoCall(t *testing.T) {
	t.Parallel()
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // Without it the end of the request is not noticed.
		<-r.Context().Done()
	}))
	t.Cleanup(hanging.Close)
	refusing := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(refusing.Close)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()

	for name, endpoint := range map[string]string{"hangs": hanging.URL, "refuses": refusing.URL, "is gone": gone.URL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := newEnvironment(t, sqliteURL(t), func(cfg *daemon.Config) { cfg.TraceEndpoint = endpoint }).waitReady()
			for n := range 100 {
				env.registerTraced("mc", traceparent(n, "01"))
			}
			began := time.Now()
			env.shutDown()
			if took := time.Since(began); took > waitTimeout/2 {
				t.Errorf("the stop took %v, want it bounded", took)
			}

			if got := strings.Count(env.log.String(), "spans not taken by the collector"); got != 1 {
				t.Errorf("the log complains %d times, want once; log:\n%s", got, env.log)
			}
		})
	}
}

func TestTrace_WithoutCollector(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, sqliteURL(t), nil).waitReady()
	env.registerTraced("mc", traceparent(1, "01"))
	if strings.Contains(env.openMetrics(), "trace_id") || strings.Contains(env.log.String(), "trace_id") {
		t.Error("an exemplar or a line of the log names a trace, want none")
	}
}

// withTraceparent has a client's calls carry a trace, as an instrumented controller's do.
func withTraceparent(traceparent string) []grpc.DialOption {
	outgoing := func(ctx context.Context) context.Context {
		return metadata.AppendToOutgoingContext(ctx, "traceparent", traceparent)
	}
	return []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
			return invoke(outgoing(ctx), method, request, reply, conn, options...)
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, stream grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
			return stream(outgoing(ctx), desc, conn, method, options...)
		}),
	}
}

func TestTrace_ControllersStream(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		c := newCollector(t)
		env := newEnvironment(t, databaseURL, func(cfg *daemon.Config) {
			cfg.TraceEndpoint, cfg.FastInterval = c.server.URL, 20*time.Millisecond
		}).waitReady()
		streamed := make(chan struct{}, 1000)

		mc, err := client.New(client.Config{
			ControllerID: "mc", Region: "eu-west-1", GRPCEndpoint: "http://mc.example:50052", MaxMeetings: 100, MaxParticipants: 1000,
			Addresses: []string{env.server.GRPCAddress()}, DialOptions: withTraceparent(traceparent(1, "01")),
			Tokens: client.StaticToken(env.issuer.token(nil, nil)), Load: func() client.Load { return client.Load{} },
			OnCall: func(call client.Call) {
				if call.Stream && call.Err == nil {
					select {
					case streamed <- struct{}{}:
					default:
					}
				}
			},
		})
		if err != nil {
			t.Fatalf("New() = %v", err)
		}

		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- mc.Run(ctx) }()

		for n := range 5 {
			select {
			case <-streamed:
			case <-time.After(waitTimeout):
				t.Errorf("%d heartbeats over a stream within %v, want 5", n, waitTimeout)
			}
		}

		cancel(client.ErrAbandon)
		if err := <-ended; err != nil {
			t.Errorf("Run() = %v", err)
		}
		metrics := env.openMetrics()
		env.shutDown()
		_, names := c.spansOf(traceID(1))
		want := []string{
			"dark_tower.internal.v1.GlobalControllerService/RegisterMC", "store register", "globalcontroller.v1.HeartbeatService/StreamHeartbeats",
		}
		if diff := cmp.Diff(want, names); diff != "" {
			t.Errorf("spans: -want +got (a stream may carry any number of heartbeats):\n%s", diff)
		}

		for line := range strings.Lines(metrics) {
			if strings.Contains(line, `transport="grpc_stream"`) && strings.Contains(line, "trace_id") {
				t.Errorf("a heartbeat of a stream has an exemplar, want none: the trace is sent when the stream ends\n%s", line)
			}
		}
	})
}
