package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectiongrpc "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	pb "darktower.example/global-controller/proto/darktower/v1"
)

func TestWhatAnybodyMayAsk(t *testing.T) {
	onBothStores(t, func(t *testing.T, databaseURL string) {
		w := newWorld(t, databaseURL, nil).ready()
		if got := w.get("/health", ""); got.status != 200 || got.body != "OK" {
			t.Errorf("/health = %d %q, want 200 OK", got.status, got.body)
		}
		var ready struct {
			Ready  bool
			Checks map[string]string
		}
		w.get("/ready", "").decode(t, &ready)
		if !ready.Ready || ready.Checks["store"] != "ok" || ready.Checks["keys"] != "ok" || ready.Checks["server"] != "ok" {
			t.Errorf("/ready = %+v, want everything ok", ready)
		}
		w.make(ways()[0], call{"RegisterMC", "mc", registration(), w.mc()})
		w.make(ways()[2], call{"FastHeartbeat", "mc", load(), nil})
		metrics := w.get("/metrics", "").body
		for _, line := range []string{
			`gc_requests_total{code="OK",endpoint="RegisterMC",transport="grpc"} 1`,
			`gc_requests_total{code="Unauthenticated",endpoint="FastHeartbeat",transport="http"} 1`,
			`gc_registered_controllers{region="eu-west-1",status="pending"} 1`,
			`gc_registered_controllers{region="us-east-1",status="healthy"} 0`,
			`gc_health_transitions_total{cause="register",from="none",to="pending"} 1`,
			`gc_jwt_validations_total{result=`,
			`gc_jwks_refresh_total{result="ok"}`,
			`gc_db_queries_total{operation="register",status="ok"} 1`,
			`gc_request_duration_seconds_bucket{endpoint="RegisterMC",transport="grpc",le="+Inf"} 1`,
			`gc_health_checker_runs_total{result=`, `gc_health_checker_hold `, `gc_db_query_duration_seconds_bucket{operation="register"`, `gc_build_info{`,
			`gc_capacity_meetings{kind="max",region="eu-west-1"} 100`,
		} {
			if !strings.Contains(metrics, "\n"+line) {
				t.Errorf("/metrics lacks %s", line)
			}
		}
		var document struct {
			OpenAPI string
			Paths   map[string]any
		}
		w.get("/openapi.json", "").decode(t, &document)
		if !strings.HasPrefix(document.OpenAPI, "3.1") || document.Paths["/api/v1/controllers/{id}"] == nil {
			t.Errorf("/openapi.json = %+v, want OpenAPI 3.1 with the routes", document)
		}
	})
}

func TestErrorsOfTheRouterHaveTheSameForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqliteURL(t), nil).ready()
	for _, tc := range []struct {
		method, path, body, contentType string
		status                          int
		code                            string
		message                         string
	}{
		{"GET", "/nothing", "", "", 404, "NOT_FOUND", "No such path; see /openapi.json"},
		{"GET", "/api//v1/controllers", "", "", 404, "NOT_FOUND", "No such path; see /openapi.json"},
		{"DELETE", "/health", "", "", 405, "BAD_REQUEST", "Method not allowed; use GET, HEAD"},
		{"PUT", "/api/v1/controllers/mc", "{", "", 400, "BAD_REQUEST", "the body is not a JSON object"},
		{"PUT", "/api/v1/controllers/mc", "[]", "", 400, "BAD_REQUEST", "the body has a value of the wrong type or out of range"},
		{"PUT", "/api/v1/controllers/mc", `{"colour":1}`, "", 400, "BAD_REQUEST", "unknown field colour"},
		{"PUT", "/api/v1/controllers/mc", `{"region":1}`, "", 400, "BAD_REQUEST", "region has a value of the wrong type or out of range"},
		{"PUT", "/api/v1/controllers/mc", `{"region":"a","region":"b"}`, "", 400, "BAD_REQUEST", "repeated field region"},
		{"PUT", "/api/v1/controllers/mc", `{} {}`, "", 400, "BAD_REQUEST", "the body is not a JSON object"},
		{"PUT", "/api/v1/controllers/mc", `{"region":"` + strings.Repeat("r", 70_000) + `"}`, "", 413, "BAD_REQUEST", "the body is larger than 65536 bytes"},
		{"PUT", "/api/v1/controllers/mc", `{}`, "text/xml", 415, "BAD_REQUEST", "Content-Type must be application/json"},
		{"GET", "/api/v1/controllers?colour=1", "", "", 400, "BAD_REQUEST", "unknown parameter colour"},
	} {
		header := bearer(w.issuer.token(nil, map[string]any{"scope": "gc:read mc:register"}))
		if tc.contentType != "" {
			header.Set("Content-Type", tc.contentType)
		}
		got := w.request(tc.method, tc.path, tc.body, header)
		var body struct {
			Error struct{ Code, Message string }
		}
		got.decode(t, &body)
		if got.status != tc.status || body.Error.Code != tc.code || body.Error.Message != tc.message || got.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s = %d %s, want %d %s %q", tc.method, tc.path, got.status, got.body, tc.status, tc.code, tc.message)
		}
	}
}

func TestARequestIDGoesThroughAndComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqliteURL(t), nil).ready()
	got := w.request(http.MethodGet, "/api/v1/controllers", "", http.Header{"Authorization": {"Bearer " + w.reader()}, "X-Request-Id": {"mine-1"}})
	if id := got.header.Get("X-Request-Id"); id != "mine-1" {
		t.Errorf("request id = %q, want that of the caller", id)
	}
	if made := w.get("/api/v1/controllers", w.reader()).header.Get("X-Request-Id"); !regexp.MustCompile(`^[0-9a-f-]{36}$`).MatchString(made) {
		t.Errorf("request id = %q, want one that was made", made)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-request-id", "mine-2", "authorization", *w.mc())
	var header metadata.MD
	_, err := pb.NewGlobalControllerServiceClient(w.conn).FastHeartbeat(ctx, &pb.FastHeartbeatRequest{ControllerId: "mc"}, grpc.Header(&header))
	if ids := header.Get("x-request-id"); status.Code(err) != codes.InvalidArgument || len(ids) != 1 || ids[0] != "mine-2" {
		t.Errorf("gRPC request id = %q (%v), want that of the caller", ids, err)
	}
	for _, id := range []string{"request_id=mine-1", "request_id=mine-2"} {
		if !strings.Contains(w.log.String(), id) {
			t.Errorf("the log lacks %s", id)
		}
	}
}

func TestRateLimitsSpareThoseWhoAreKnown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqliteURL(t), func(c *Config) { c.RateLimitPerMinute, c.ControllersPerSubject = 1, 3 }).ready()
	limited := outcome{codes.ResourceExhausted, "Rate limit exceeded"}
	full := outcome{codes.ResourceExhausted, "Controller limit reached: this client owns 3 controllers, at most 3 are allowed (GC_MAX_CONTROLLERS_PER_SUBJECT)"}
	if got := w.make(ways()[0], call{"RegisterMC", "mc", registration(), w.mc()}); got != (outcome{}) {
		t.Fatalf("RegisterMC() = %v", got)
	}
	// Strangers use up what the subject is allowed, which all of them share.
	for i := range 30 {
		w.make(ways()[i%3], call{"RegisterMC", fmt.Sprintf("stranger-%d", i), registration(), w.mc()})
	}
	for _, by := range ways() {
		if got := w.make(by, call{"RegisterMC", "one-more", registration(), w.mc()}); got != full {
			t.Errorf("%s: a stranger = %v, want %v", by.name, got, full)
		}
		if got := w.make(by, call{"FastHeartbeat", "one-more", load(), w.mc()}); got != full {
			t.Errorf("%s: a stranger's heartbeat = %v, want %v", by.name, got, full)
		}
		for range 20 {
			if got := w.make(by, call{"FastHeartbeat", "mc", load(), w.mc()}); got != (outcome{}) {
				t.Fatalf("%s: a known controller's heartbeat = %v, want OK", by.name, got)
			}
		}
		if got := w.make(by, call{"RegisterMC", "mc", registration(), w.mc()}); got != (outcome{}) {
			t.Errorf("%s: a known controller's registration = %v, want OK", by.name, got)
		}
	}
	for range 30 {
		w.make(ways()[0], call{"FastHeartbeat", "mc", load(), nil})
	}
	if got := w.make(ways()[0], call{"FastHeartbeat", "mc", load(), nil}); got != limited {
		t.Errorf("an address without tokens = %v, want %v", got, limited)
	}
	if got := w.make(ways()[0], call{"FastHeartbeat", "mc", load(), w.mc()}); got != (outcome{}) {
		t.Errorf("a known controller from that address = %v, want OK", got)
	}
	if metrics := w.get("/metrics", "").body; !strings.Contains(metrics, `gc_rate_limited_total{endpoint="RegisterMC"}`) || strings.Contains(metrics, `gc_rate_limited_total{endpoint="RegisterMC"} 0`) {
		t.Error("/metrics lacks gc_rate_limited_total, or it is 0 after refusals")
	}
}

func TestGRPCTools(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqliteURL(t), nil).ready()
	health := healthgrpc.NewHealthClient(w.conn)
	for _, name := range []string{"", ways()[0].service, ways()[1].service, "globalcontroller.v1.FleetService"} {
		if got, err := health.Check(t.Context(), &healthgrpc.HealthCheckRequest{Service: name}); err != nil || got.GetStatus() != healthgrpc.HealthCheckResponse_SERVING {
			t.Errorf("health of %q = %v, %v, want SERVING", name, got, err)
		}
	}
	services := func(w *world) ([]string, error) {
		stream, err := reflectiongrpc.NewServerReflectionClient(w.conn).ServerReflectionInfo(t.Context())
		if err != nil {
			return nil, err
		}
		// What Send is told when the stream has ended already, Recv tells better.
		_ = stream.Send(&reflectiongrpc.ServerReflectionRequest{MessageRequest: &reflectiongrpc.ServerReflectionRequest_ListServices{}})
		got, err := stream.Recv()
		var names []string
		for _, s := range got.GetListServicesResponse().GetService() {
			names = append(names, s.GetName())
		}
		return names, err
	}
	if _, err := services(w); status.Code(err) != codes.Unimplemented {
		t.Errorf("reflection that is off = %v, want Unimplemented", err)
	}
	open := newWorld(t, sqliteURL(t), func(c *Config) { c.GRPCReflection = true }).ready()
	names, err := services(open)
	if all := strings.Join(names, " "); err != nil || !strings.Contains(all, ways()[0].service) || !strings.Contains(all, ways()[1].service) {
		t.Errorf("reflection = %v, %v, want both services", names, err)
	}
}

// TestAStopFinishesTheCallsInFlight holds the order of a stop: not ready first, then no new calls, the store last.
func TestAStopFinishesTheCallsInFlight(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqliteURL(t), nil).ready()
	if got := w.make(ways()[0], call{"RegisterMC", "mc", registration(), w.mc()}); got != (outcome{}) {
		t.Fatalf("RegisterMC() = %v", got)
	}
	// A call is in flight while its body has not come. The client sends none before the server asks for it, so that what
	// is started here is known to have arrived.
	transport := &http.Transport{ExpectContinueTimeout: time.Minute}
	defer transport.CloseIdleConnections()
	body, more := make(chan string), make(chan struct{})
	answered := make(chan answer, 1)
	go func() {
		reader := &slowReader{parts: body, started: more}
		request, _ := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://"+w.server.HTTPAddress()+"/api/v1/controllers/mc/heartbeats/fast", reader)
		request.Header = http.Header{"Authorization": {*w.mc()}, "Content-Type": {"application/json"}, "Expect": {"100-continue"}}
		response, err := transport.RoundTrip(request)
		if err != nil {
			answered <- answer{body: err.Error()}
			return
		}
		_ = response.Body.Close()
		answered <- answer{status: response.StatusCode}
	}()
	<-more
	data, _ := json.Marshal(load())
	body <- string(data[:5])
	w.stop()
	w.until("draining", func() bool { return w.server.serviceable.State()["server"] == "draining" })
	body <- string(data[5:])
	close(body)
	if got := <-answered; got.status != http.StatusOK {
		t.Errorf("the call in flight = %d %s, want 200", got.status, got.body)
	}
	w.end()
}

// slowReader gives a body in parts.
type slowReader struct {
	parts   chan string
	started chan struct{}
	begun   bool
}

func (s *slowReader) Read(p []byte) (int, error) {
	if !s.begun {
		s.begun = true
		close(s.started)
	}
	part, ok := <-s.parts
	if !ok {
		return 0, io.EOF
	}
	return copy(p, part), nil
}

func TestADrainEndsAtItsBound(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqliteURL(t), func(c *Config) { c.Drain = time.Second }).ready()
	// A stream that would never end by itself.
	watch, err := healthgrpc.NewHealthClient(w.conn).Watch(t.Context(), &healthgrpc.HealthCheckRequest{})
	if err != nil {
		t.Fatalf("watch: %v", err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatalf("watch: %v", err)
	}
	began := time.Now()
	w.end()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the stop took %v, want about the drain of 1 s at most", took)
	}
}

func TestAnAddressThatIsTakenStopsTheStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqliteURL(t), nil).ready()
	for _, change := range []func(*Config){
		func(c *Config) { c.BindAddress = w.address },
		func(c *Config) { c.GRPCBindAddress = w.server.GRPCAddress() },
	} {
		cfg := w.cfg
		cfg.DatabaseURL = sqliteURL(t)
		change(&cfg)
		if server, err := New(cfg, NewLogger(w.log, cfg)); err == nil || server != nil || !strings.Contains(err.Error(), "listen for") {
			t.Errorf("New() = %v, %v, want an error that says what cannot be listened to", server, err)
		}
	}
}

func TestProfilesAreServedWhereTheyAreAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqliteURL(t), func(c *Config) { c.PprofAddress = "127.0.0.1:0" }).ready()
	response, err := w.http.Get("http://" + w.server.pprof.Addr().String() + "/debug/pprof/")
	if err != nil {
		t.Fatalf("profiles: %v", err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("profiles = %d, want 200", response.StatusCode)
	}
	if got := w.get("/debug/pprof/", ""); got.status != http.StatusNotFound {
		t.Errorf("profiles on the public port = %d, want 404", got.status)
	}
}
