package e2e

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"darktower.example/global-controller/internal/daemon"
	"darktower.example/global-controller/pkg/client"
	pb "darktower.example/global-controller/proto/darktower/v1"
	fleetpb "darktower.example/global-controller/proto/globalcontroller/v1"
)

const fastHeartbeatPath = "/api/v1/controllers/mc/heartbeats/fast"

// registerTraced registers a controller over gRPC with a trace.
func (env *environment) registerTraced(id, traceparent string) {
	env.t.Helper()
	ctx := metadata.AppendToOutgoingContext(env.t.Context(), "authorization", *env.controllerAuth(), "traceparent", traceparent)
	if _, err := pb.NewGlobalControllerServiceClient(env.conn).RegisterMC(ctx, registerRequest(id)); err != nil {
		env.t.Errorf("RegisterMC() = %v", err)
	}
}

// requestTraced makes a request over HTTP with a trace and checks its status.
func (env *environment) requestTraced(method, path, token, traceparent string, want int) {
	env.t.Helper()
	header, body := bearer(token), ""
	header.Set("Traceparent", traceparent)
	if method == http.MethodPost {
		data, err := json.Marshal(fastHeartbeat())
		if err != nil {
			env.t.Fatal(err)
		}
		body = string(data)
	}

	if got := env.request(method, path, body, header); got.status != want {
		env.t.Errorf("%s %s = %v, want %d", method, path, got, want)
	}
}

// openMetrics returns the page of metrics with exemplars.
func (env *environment) openMetrics() string {
	env.t.Helper()
	return env.request(http.MethodGet, "/metrics", "", http.Header{"Accept": {"application/openmetrics-text; version=1.0.0"}}).body
}

// TestTrace_UnauthenticatedCallersForceNothing sends traceparents, as any caller can, without a valid token.
func TestTrace_UnauthenticatedCallersForceNothing(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		c := newCollector(t)
		env := newEnvironment(t, databaseURL, func(cfg *daemon.Config) {
			cfg.TraceEndpoint, cfg.TraceSampleRatio = c.server.URL, 0
		}).waitReady()
		for n, token := range map[int]string{1: "", 2: "x", 3: env.issuer.token(nil, map[string]any{"exp": 1})} {
			env.requestTraced(http.MethodGet, "/api/v1/controllers", token, traceparent(n, recorded), http.StatusUnauthorized)
			ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token, "traceparent", traceparent(n, recorded))
			_, _ = pb.NewGlobalControllerServiceClient(env.conn).RegisterMC(ctx, registerRequest("mc"))
			stream, err := fleetpb.NewHeartbeatServiceClient(env.conn).StreamHeartbeats(ctx)
			if err == nil {
				_, err = stream.Recv()
			}
			if err == nil {
				t.Error("a stream without a valid token is accepted")
			}
		}

		// The first call with a token is recorded, although the token is not in the cache.
		env.registerTraced("mc", traceparent(4, recorded))
		if got := env.openMetrics(); strings.Contains(got, traceID(1)) || !strings.Contains(got, traceID(4)) {
			t.Error("the exemplars must name the trace of the caller with a valid token, and no other")
		}
		env.shutDown()
		for n := 1; n <= 3; n++ {
			if _, names := c.spansOf(traceID(n)); len(names) > 0 {
				t.Errorf("trace %d of a caller without a valid token has spans %q, want none", n, names)
			}
		}
		if _, names := c.spansOf(traceID(4)); len(names) != 2 {
			t.Errorf("the trace of a caller with a valid token has spans %q, want its call and the store's", names)
		}
	})
}

// wantTrace is a trace that the collector must have received.
type wantTrace struct {
	trace      int
	names      []string
	attributes map[string]string
}

func wantTraces() []wantTrace {
	register := viaGRPC.service + "/RegisterMC"
	return []wantTrace{
		{1, []string{register, "store register"}, map[string]string{
			"rpc.system.name":          "grpc",
			"rpc.method":               register,
			"rpc.response.status_code": "OK",
			"gc.operation":             "RegisterMC",
			"gc.transport":             "grpc",
			"gc.controller_id":         "mc",
		}},
		{2, []string{"POST /api/v1/controllers/{id}/heartbeats/fast", "store heartbeat"}, map[string]string{
			"http.request.method":       "POST",
			"http.route":                "/api/v1/controllers/{id}/heartbeats/fast",
			"http.response.status_code": "200",
			"gc.operation":              "FastHeartbeat",
			"gc.transport":              "http",
			"gc.controller_id":          "mc",
		}},
		{3, []string{"GET /api/v1/controllers/{id}", "store controller"}, map[string]string{
			"http.request.method":       "GET",
			"http.route":                "/api/v1/controllers/{id}",
			"http.response.status_code": "404",
			"gc.operation":              "GetController",
			"gc.transport":              "http",
		}},
		{4, []string{"GET /api/v1/controllers"}, map[string]string{
			"http.request.method":       "GET",
			"http.route":                "/api/v1/controllers",
			"http.response.status_code": "403",
			"gc.operation":              "ListControllers",
			"gc.transport":              "http",
		}},
	}
}

// check checks the spans of the trace.
func (want wantTrace) check(t *testing.T, c *collector) {
	t.Helper()
	spans, names := c.spansOf(traceID(want.trace))
	if diff := cmp.Diff(want.names, names); diff != "" {
		t.Errorf("spans of trace %d: -want +got:\n%s", want.trace, diff)
		return
	}
	if diff := cmp.Diff(want.attributes, attributes(spans[0].GetAttributes())); diff != "" {
		t.Errorf("attributes of %s: -want +got:\n%s", names[0], diff)
	}
	if got := hex.EncodeToString(spans[0].GetParentSpanId()); got != callersSpan {
		t.Errorf("%s has the parent %s, want the caller's span %s", names[0], got, callersSpan)
	}

	for i, s := range spans {
		if i > 0 && !slices.Equal(s.GetParentSpanId(), spans[0].GetSpanId()) {
			t.Errorf("%s has another parent than the call's span", s.GetName())
		}
		if s.GetStatus().GetCode() != tracepb.Status_STATUS_CODE_UNSET {
			t.Errorf("%s has the status %v, want none, because no call failed on the server side", s.GetName(), s.GetStatus())
		}
	}
}

// TestTrace_ContinuesTheCallersTrace makes calls with the traces 1 to 4, which the caller records, and others that are not
// recorded.
func TestTrace_ContinuesTheCallersTrace(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		c := newCollector(t)
		keyFetches := make(chan string, 1000)
		env := newEnvironment(t, databaseURL, func(cfg *daemon.Config) {
			cfg.TraceEndpoint, cfg.ID = c.server.URL, "gc-1"
			cfg.JWKSURL = recordTraceparents(t, cfg.JWKSURL, keyFetches)
		}).waitReady()
		token := env.issuer.token(nil, nil)
		env.registerTraced("mc", traceparent(1, recorded))
		env.requestTraced(http.MethodPost, fastHeartbeatPath, token, traceparent(2, recorded), http.StatusOK)
		env.requestTraced(http.MethodGet, "/api/v1/controllers/unknown", env.readerToken(), traceparent(3, recorded), http.StatusNotFound)
		env.requestTraced(http.MethodGet, "/api/v1/controllers", token, traceparent(4, recorded), http.StatusForbidden)

		// Calls that the caller does not record.
		env.registerTraced("mc", traceparent(5, notRecorded))
		env.requestTraced(http.MethodPost, fastHeartbeatPath, token, traceparent(6, notRecorded), http.StatusOK)

		// Paths that are never recorded.
		for i, path := range []string{"/health", "/ready", "/metrics", "/openapi.json"} {
			env.requestTraced(http.MethodGet, path, "", traceparent(7+i, recorded), http.StatusOK)
		}
		env.requestTraced(http.MethodGet, "/nowhere", "", traceparent(11, recorded), http.StatusNotFound)
		ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", traceparent(12, recorded))
		if _, err := healthgrpc.NewHealthClient(env.conn).Check(ctx, &healthgrpc.HealthCheckRequest{}); err != nil {
			t.Errorf("Check() = %v", err)
		}

		env.checkTraceIDs()
		env.shutDown() // It sends the remaining spans.
		for _, want := range wantTraces() {
			want.check(t, c)
		}
		for n := 5; n <= 12; n++ {
			if _, names := c.spansOf(traceID(n)); len(names) > 0 {
				t.Errorf("trace %d has spans %q, want none", n, names)
			}
		}

		sent := <-keyFetches
		if _, names := c.spansOf(strings.Split(sent+"--", "-")[1]); !slices.Equal(names, []string{"fetch keys"}) {
			t.Errorf("the keys were fetched with traceparent %q, whose spans are %q, want [fetch keys]", sent, names)
		}

		want := map[string]string{
			"service.name":        "global-controller",
			"service.version":     daemon.Version,
			"service.instance.id": "gc-1",
			"cloud.region":        "us-east-1",
		}
		if diff := cmp.Diff(want, c.resource); diff != "" {
			t.Errorf("resource: -want +got:\n%s", diff)
		}

		for _, secret := range []string{token, "client-1", "eyJ", "SELECT", "UPDATE"} {
			if strings.Contains(c.received.String(), secret) {
				t.Errorf("the spans contain %q", secret)
			}
		}
	})
}

// checkTraceIDs checks which traces the exemplars and the log name.
func (env *environment) checkTraceIDs() {
	env.t.Helper()
	metrics := env.openMetrics()
	for n, want := range map[int]bool{1: true, 2: true, 3: true, 4: true, 5: false, 6: false, 9: false} {
		if got := strings.Contains(metrics, `# {trace_id="`+traceID(n)+`"}`); got != want {
			env.t.Errorf("an exemplar with trace %d: %v, want %v", n, got, want)
		}
	}
	if strings.Contains(env.get("/metrics", "").body, "trace_id") {
		env.t.Error("the older text format has exemplars, want none: it does not support them")
	}

	for n := 1; n <= 6; n++ {
		if line := " trace_id=" + traceID(n) + "\n"; !strings.Contains(env.log.String(), line) {
			env.t.Errorf("the log lacks %s", line)
		}
	}
}

func TestTrace_FailingCollectorAffectsNoCall(t *testing.T) {
	t.Parallel()
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // Otherwise the end of the request is not noticed.
		<-r.Context().Done()
	}))
	t.Cleanup(hanging.Close)
	refusing := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(refusing.Close)
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()

	for name, endpoint := range map[string]string{"hangs": hanging.URL, "refuses": refusing.URL, "is closed": closed.URL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := newEnvironment(t, sqliteURL(t), func(cfg *daemon.Config) { cfg.TraceEndpoint = endpoint }).waitReady()
			for n := range 100 {
				env.registerTraced("mc", traceparent(n, recorded))
			}

			began := time.Now()
			env.shutDown()
			if took := time.Since(began); took > waitTimeout/2 {
				t.Errorf("the shutdown took %v, want at most %v", took, waitTimeout/2)
			}
			if got := strings.Count(env.log.String(), "spans not taken by the collector"); got != 1 {
				t.Errorf("the log names the collector %d times, want once; log:\n%s", got, env.log)
			}
		})
	}
}

func TestTrace_WithoutCollector(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, sqliteURL(t), nil).waitReady()
	env.registerTraced("mc", traceparent(1, recorded))
	if strings.Contains(env.openMetrics(), "trace_id") || strings.Contains(env.log.String(), "trace_id") {
		t.Error("an exemplar or a line of the log names a trace, want none")
	}
}

// withTraceparent makes a client's calls carry a trace, as those of an instrumented controller do.
func withTraceparent(traceparent string) []grpc.DialOption {
	outgoing := func(ctx context.Context) context.Context {
		return metadata.AppendToOutgoingContext(ctx, "traceparent", traceparent)
	}
	unary := func(
		ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption,
	) error {
		return invoke(outgoing(ctx), method, request, reply, conn, options...)
	}
	stream := func(
		ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, options ...grpc.CallOption,
	) (grpc.ClientStream, error) {
		return open(outgoing(ctx), desc, conn, method, options...)
	}
	return []grpc.DialOption{grpc.WithChainUnaryInterceptor(unary), grpc.WithChainStreamInterceptor(stream)}
}

func TestTrace_ControllersStream(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		c := newCollector(t)
		env := newEnvironment(t, databaseURL, func(cfg *daemon.Config) {
			cfg.TraceEndpoint, cfg.FastInterval = c.server.URL, 20*time.Millisecond
		}).waitReady()

		streamed := make(chan struct{}, 1000)

		mc, err := client.New(client.Config{
			ControllerID:    "mc",
			Region:          "eu-west-1",
			GRPCEndpoint:    "http://mc.example:50052",
			MaxMeetings:     100,
			MaxParticipants: 1000,
			Addresses:       []string{env.server.GRPCAddress()},
			DialOptions:     withTraceparent(traceparent(1, recorded)),
			Tokens:          client.StaticToken(env.issuer.token(nil, nil)),
			Load:            func() client.Load { return client.Load{} },
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
		want := []string{viaGRPC.service + "/RegisterMC", "store register", "globalcontroller.v1.HeartbeatService/StreamHeartbeats"}
		if diff := cmp.Diff(want, names); diff != "" {
			t.Errorf("spans: -want +got (a stream may carry any number of heartbeats):\n%s", diff)
		}
		for line := range strings.Lines(metrics) {
			if strings.Contains(line, `transport="grpc_stream"`) && strings.Contains(line, "trace_id") {
				t.Errorf("a heartbeat of a stream has an exemplar, want none, because the trace is sent when the stream ends\n%s", line)
			}
		}
	})
}
