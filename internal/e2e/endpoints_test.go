package e2e

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectiongrpc "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"darktower.example/global-controller/internal/daemon"
	pb "darktower.example/global-controller/proto/darktower/v1"
)

func TestPublicPaths_WithoutToken(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		if got := env.get("/health", ""); got.status != 200 || got.body != "OK" {
			t.Errorf("/health = %d %q, want 200 OK", got.status, got.body)
		}

		var ready struct {
			Ready  bool
			Checks map[string]string
		}
		env.get("/ready", "").decode(t, &ready)
		if !ready.Ready || ready.Checks["store"] != "ok" || ready.Checks["keys"] != "ok" || ready.Checks["server"] != "ok" {
			t.Errorf("/ready = %+v, want all checks ok", ready)
		}

		env.send(viaGRPC, call{"RegisterMC", "mc", registration(), env.controllerAuth()})
		env.send(viaHTTP, call{"FastHeartbeat", "mc", fastHeartbeat(), nil})

		metrics := env.get("/metrics", "").body
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
			`gc_health_checker_runs_total{result=`,
			`gc_health_checker_hold `,
			`gc_db_query_duration_seconds_bucket{operation="register"`,
			`gc_build_info{`,
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
		env.get("/openapi.json", "").decode(t, &document)
		if !strings.HasPrefix(document.OpenAPI, "3.1") || document.Paths["/api/v1/controllers/{id}"] == nil {
			t.Errorf("/openapi.json = %+v, want OpenAPI 3.1 with the routes", document)
		}
	})
}

func TestHTTP_RouterErrors(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, sqliteURL(t), nil).waitReady()
	tooLarge := `{"region":"` + strings.Repeat("r", 70_000) + `"}`

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
		{"PUT", "/api/v1/controllers/mc", tooLarge, "", 413, "BAD_REQUEST", "the body is larger than 65536 bytes"},
		{"PUT", "/api/v1/controllers/mc", `{}`, "text/xml", 415, "BAD_REQUEST", "Content-Type must be application/json"},
		{"GET", "/api/v1/controllers?colour=1", "", "", 400, "BAD_REQUEST", "unknown parameter colour"},
	} {
		header := bearer(env.issuer.token(nil, map[string]any{"scope": "gc:read mc:register"}))
		if tc.contentType != "" {
			header.Set("Content-Type", tc.contentType)
		}

		got := env.request(tc.method, tc.path, tc.body, header)
		var body struct {
			Error struct{ Code, Message string }
		}
		got.decode(t, &body)
		isJSON := got.header.Get("Content-Type") == "application/json"
		if got.status != tc.status || body.Error.Code != tc.code || body.Error.Message != tc.message || !isJSON {
			t.Errorf("%s %s = %v, want %d %s %q as JSON", tc.method, tc.path, got, tc.status, tc.code, tc.message)
		}
	}
}

func TestRequestID_ReturnedAndLogged(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, sqliteURL(t), nil).waitReady()
	header := bearer(env.readerToken())
	header.Set("X-Request-Id", "mine-1")
	if id := env.request(http.MethodGet, "/api/v1/controllers", "", header).header.Get("X-Request-Id"); id != "mine-1" {
		t.Errorf("request id = %q, want that of the caller", id)
	}

	generated := env.get("/api/v1/controllers", env.readerToken()).header.Get("X-Request-Id")
	if !regexp.MustCompile(`^[0-9a-f-]{36}$`).MatchString(generated) {
		t.Errorf("request id = %q, want a generated one", generated)
	}

	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-request-id", "mine-2", "authorization", *env.controllerAuth())
	var sent metadata.MD
	client := pb.NewGlobalControllerServiceClient(env.conn)
	_, err := client.FastHeartbeat(ctx, &pb.FastHeartbeatRequest{ControllerId: "mc"}, grpc.Header(&sent))
	if ids := sent.Get("x-request-id"); status.Code(err) != codes.InvalidArgument || len(ids) != 1 || ids[0] != "mine-2" {
		t.Errorf("gRPC request id = %q (%v), want that of the caller", ids, err)
	}

	for _, id := range []string{"request_id=mine-1", "request_id=mine-2"} {
		if !strings.Contains(env.log.String(), id) {
			t.Errorf("the log lacks %s", id)
		}
	}
}

func TestGRPC_HealthAndReflection(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, sqliteURL(t), nil).waitReady()
	health := healthgrpc.NewHealthClient(env.conn)
	for _, name := range []string{"", viaGRPC.service, viaOlderGRPC.service, "globalcontroller.v1.FleetService"} {
		got, err := health.Check(t.Context(), &healthgrpc.HealthCheckRequest{Service: name})
		if err != nil || got.GetStatus() != healthgrpc.HealthCheckResponse_SERVING {
			t.Errorf("health of %q = %v, %v, want SERVING", name, got, err)
		}
	}

	listServices := func(env *environment) ([]string, error) {
		stream, err := reflectiongrpc.NewServerReflectionClient(env.conn).ServerReflectionInfo(t.Context())
		if err != nil {
			return nil, err
		}

		// If the stream has ended already, Recv returns a better error than Send.
		_ = stream.Send(&reflectiongrpc.ServerReflectionRequest{
			MessageRequest: &reflectiongrpc.ServerReflectionRequest_ListServices{},
		})
		got, err := stream.Recv()
		var names []string
		for _, s := range got.GetListServicesResponse().GetService() {
			names = append(names, s.GetName())
		}
		return names, err
	}

	if _, err := listServices(env); status.Code(err) != codes.Unimplemented {
		t.Errorf("reflection by default = %v, want Unimplemented", err)
	}

	reflecting := newEnvironment(t, sqliteURL(t), func(c *daemon.Config) { c.GRPCReflection = true }).waitReady()
	names, err := listServices(reflecting)
	if all := strings.Join(names, " "); err != nil || !strings.Contains(all, viaGRPC.service) || !strings.Contains(all, viaOlderGRPC.service) {
		t.Errorf("reflection = %v, %v, want both services", names, err)
	}
}

func TestProfiles_OnTheirOwnListenerOnly(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, sqliteURL(t), func(c *daemon.Config) { c.PprofAddress = "127.0.0.1:0" }).waitReady()

	response, err := env.http.Get("http://" + env.profileAddress() + "/debug/pprof/")
	if err != nil {
		t.Fatalf("profiles: %v", err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("profiles = %d, want 200", response.StatusCode)
	}
	if got := env.get("/debug/pprof/", ""); got.status != http.StatusNotFound {
		t.Errorf("profiles on the public port = %d, want 404", got.status)
	}
}
