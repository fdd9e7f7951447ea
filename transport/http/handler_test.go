package httptransport

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-kit/kit/endpoint"
	"github.com/go-kit/log"

	"darktower.example/global-controller/endpoints"
	"darktower.example/global-controller/service"
)

// fakeService records the last request, validates like the real one, and fails with err.
type fakeService struct {
	service.Service
	err  error
	last any
	left time.Duration // Until the call's deadline.
}

func (f *fakeService) RegisterMC(_ context.Context, r service.Registration) (service.RegistrationResponse, error) {
	f.last = r
	if r.ControllerID == "panic" {
		panic("on purpose")
	}
	return service.RegistrationResponse{
		FastInterval:          10 * time.Second,
		ComprehensiveInterval: 30 * time.Second,
	}, errors.Join(r.Validate(), f.err)
}

func (f *fakeService) FastHeartbeat(_ context.Context, h service.FastHeartbeat) (service.Acknowledgement, error) {
	f.last = h
	return service.Acknowledgement{At: time.Unix(1700000000, 5)}, h.Validate()
}

func (f *fakeService) ComprehensiveHeartbeat(_ context.Context, h service.ComprehensiveHeartbeat) (service.Acknowledgement, error) {
	f.last = h
	return service.Acknowledgement{At: time.Unix(1700000000, 5)}, h.Validate()
}

func (f *fakeService) GetController(ctx context.Context, q service.ControllerQuery) (service.Controller, error) {
	f.last = q
	if at, ok := ctx.Deadline(); ok {
		f.left = time.Until(at)
	}
	return service.Controller{
		ControllerID:         q.ControllerID,
		Health:               service.HealthDegraded,
		WebTransportEndpoint: "https://wt",
		MaxMeetings:          1,
		MaxParticipants:      1,
	}, f.err
}

func (f *fakeService) ListControllers(_ context.Context, q service.ListQuery) (service.ControllerPage, error) {
	f.last = q
	return service.ControllerPage{Controllers: []service.Controller{{ControllerID: "a"}}, NextPageToken: "next"}, q.Validate()
}

func noMiddleware(endpoints.Operation) endpoint.Middleware {
	return func(e endpoint.Endpoint) endpoint.Endpoint { return e }
}

func newTestHandler(svc service.Service, checks map[string]string) http.Handler {
	return NewHandler(endpoints.New(svc, noMiddleware), Config{
		Logger: log.NewNopLogger(), Metrics: http.NotFoundHandler(), Ready: func(context.Context) map[string]string { return checks },
	})
}

func call(h http.Handler, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const (
	one        = "/api/v1/controllers/mc-1"
	registerOK = `{"region":"eu","grpc_endpoint":"http://mc","max_meetings":1,"max_participants":2}`
	beatOK     = `{"capacity":{"current_meetings":3,"current_participants":4},"health":"healthy"}`
)

func TestHandler_ErrorsHaveOneForm(t *testing.T) {
	tests := []struct {
		name, method, path, body string
		status                   int
		code, message            string
	}{
		{"unknown path", "GET", "/nope", "", 404, "NOT_FOUND", "No such path; see /openapi.json"},
		{"unclean path", "GET", "//api/v1/controllers", "", 404, "NOT_FOUND", "No such path; see /openapi.json"},
		{"wrong method", "PATCH", one, "", 405, "BAD_REQUEST", "Method not allowed; use DELETE, GET, HEAD, PUT"},
		{"not JSON", "PUT", one, "{", 400, "BAD_REQUEST", "the body is not a JSON object"},
		{"no body", "PUT", one, "", 400, "BAD_REQUEST", "the body is not a JSON object"},
		{"two values", "PUT", one, registerOK + "{}", 400, "BAD_REQUEST", "the body is not a JSON object"},
		{"an array", "PUT", one, "[]", 400, "BAD_REQUEST", "the body has a value of the wrong type or out of range"},
		{"unknown field", "PUT", one, `{"regional":1}`, 400, "BAD_REQUEST", "unknown field regional"},
		{"field in another case", "PUT", one, `{"Region":"eu"}`, 400, "BAD_REQUEST", "unknown field Region"},
		{"unknown inner field", "POST", one + "/heartbeats/fast", `{"capacity":{"x":1}}`, 400, "BAD_REQUEST", "unknown field capacity.x"},
		{"repeated field", "PUT", one, `{"region":"eu","region":"us"}`, 400, "BAD_REQUEST", "repeated field region"},
		{"wrong type", "PUT", one, `{"max_meetings":"many"}`, 400, "BAD_REQUEST", "max_meetings has a value of the wrong type or out of range"},
		{"fraction", "PUT", one, `{"max_meetings":1.5}`, 400, "BAD_REQUEST", "max_meetings has a value of the wrong type or out of range"},
		{
			"negative", "PUT", one, strings.Replace(registerOK, `"max_meetings":1`, `"max_meetings":-1`, 1), 400, "BAD_REQUEST",
			"max_meetings must be greater than 0",
		},
		{
			"over 32 bits", "PUT", one, strings.Replace(registerOK, `"max_meetings":1`, `"max_meetings":4294967296`, 1), 400, "BAD_REQUEST",
			"max_meetings value too large",
		},
		{
			"beyond 64 bits", "PUT", one, strings.Replace(registerOK, `"max_meetings":1`, `"max_meetings":9223372036854775808`, 1), 400,
			"BAD_REQUEST", "max_meetings value too large",
		},
		{
			"far beyond 64 bits", "PUT", one,
			strings.Replace(registerOK, `"max_participants":2`, `"max_participants":1`+strings.Repeat("0", 400), 1), 400, "BAD_REQUEST",
			"max_participants value too large",
		},
		{
			"beyond 64 bits and another field before", "PUT", one,
			`{"grpc_endpoint":"http://mc","max_meetings":9223372036854775808,"max_participants":2}`, 400, "BAD_REQUEST", "region is required",
		},
		{
			"below 64 bits", "PUT", one, strings.Replace(registerOK, `"max_meetings":1`, `"max_meetings":-9223372036854775809`, 1), 400,
			"BAD_REQUEST", "max_meetings must be greater than 0",
		},
		{
			"load beyond 64 bits", "POST", one + "/heartbeats/fast", `{"capacity":{"current_meetings":99999999999999999999}}`, 400, "BAD_REQUEST",
			"current_meetings value too large",
		},
		{
			"other load beyond 64 bits", "POST", one + "/heartbeats/comprehensive", `{"capacity":{"current_participants":99999999999999999999}}`,
			400, "BAD_REQUEST", "current_participants value too large",
		},
		{
			"limits of a heartbeat are ignored", "POST", one + "/heartbeats/fast", `{"capacity":{"max_meetings":99999999999999999999},"health":1}`,
			200, "", "",
		},
		{"exponent", "PUT", one, `{"max_meetings":1e3}`, 400, "BAD_REQUEST", "max_meetings has a value of the wrong type or out of range"},
		{"number as text", "PUT", one, `{"max_meetings":"1"}`, 400, "BAD_REQUEST", "max_meetings has a value of the wrong type or out of range"},
		{
			"load of the wrong type", "POST", one + "/heartbeats/fast", `{"capacity":{"current_meetings":[1]}}`, 400, "BAD_REQUEST",
			"capacity.current_meetings has a value of the wrong type or out of range",
		},
		{
			"null is nothing", "PUT", one, strings.Replace(registerOK, `"max_meetings":1`, `"max_meetings":null`, 1), 400, "BAD_REQUEST",
			"max_meetings must be greater than 0",
		},
		{
			"unknown state", "POST", one + "/heartbeats/fast", `{"capacity":{},"health":"well"}`, 400, "BAD_REQUEST",
			"health must be one of pending, healthy, degraded, unhealthy, draining",
		},
		{
			"state of the wrong type", "POST", one + "/heartbeats/fast", `{"health":true}`, 400, "BAD_REQUEST",
			"health must be one of pending, healthy, degraded, unhealthy, draining",
		},
		{"no capacity", "POST", one + "/heartbeats/comprehensive", `{}`, 400, "BAD_REQUEST", "capacity is required"},
		{"no health", "POST", one + "/heartbeats/fast", `{"capacity":{}}`, 400, "BAD_REQUEST", "health is required"},
		{"no health in the other", "POST", one + "/heartbeats/comprehensive", `{"capacity":{}}`, 400, "BAD_REQUEST", "health is required"},
		{
			"no health and a bad percentage", "POST", one + "/heartbeats/comprehensive", `{"capacity":{},"cpu_usage_percent":101}`, 400,
			"BAD_REQUEST", "cpu_usage_percent must be between 0 and 100",
		},
		{
			"too large", "PUT", one, `{"region":"` + strings.Repeat("x", maxBodyBytes) + `"}`, 413, "BAD_REQUEST",
			"the body is larger than 65536 bytes",
		},
		{"bad id", "GET", "/api/v1/controllers/a.b", "", 200, "", ""},
		{"unknown parameter", "GET", "/api/v1/controllers?size=1", "", 400, "BAD_REQUEST", "unknown parameter size"},
		{"parameter that is not text", "GET", "/api/v1/controllers?%ff=1", "", 400, "BAD_REQUEST", "unknown parameter \uFFFD"},
		{
			"long parameter cut inside a rune", "GET", "/api/v1/controllers?x" + strings.Repeat("%C3%BC", 40) + "=1", "", 400, "BAD_REQUEST",
			"unknown parameter x" + strings.Repeat("ü", 31) + "…",
		},
		{"value that is not text", "GET", "/api/v1/controllers?region=%ff", "", 400, "BAD_REQUEST", "region contains invalid characters"},
		{"unreadable query", "GET", "/api/v1/controllers?region=%zz", "", 400, "BAD_REQUEST", "the query is malformed"},
		{
			"long field cut inside a rune", "PUT", one, `{"x` + strings.Repeat("ü", 40) + `":1}`, 400, "BAD_REQUEST",
			"unknown field x" + strings.Repeat("ü", 31) + "…",
		},
		{"field that is not text", "PUT", one, "{\"\xff\":1}", 400, "BAD_REQUEST", "the body is not a JSON object"},
		{"repeated parameter", "GET", "/api/v1/controllers?region=a&region=b", "", 400, "BAD_REQUEST", "repeated parameter region"},
		{"bad page size", "GET", "/api/v1/controllers?page_size=0", "", 400, "BAD_REQUEST", "page_size must be between 1 and 1000"},
		{"panic", "PUT", "/api/v1/controllers/panic", registerOK, 500, "INTERNAL_ERROR", "Internal error"},
	}

	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			w := call(newTestHandler(&fakeService{}, nil), tc.method, tc.path, tc.body)
			var got errorBody
			if tc.code != "" && json.Unmarshal(w.Body.Bytes(), &got) != nil {
				t.Fatalf("the response is not JSON: %q", w.Body)
			}
			if w.Code != tc.status || got.Error.Code != tc.code || got.Error.Message != tc.message {
				t.Errorf("got %d %q %q, want %d %q %q", w.Code, got.Error.Code, got.Error.Message, tc.status, tc.code, tc.message)
			}
			if w.Header().Get("X-Request-Id") == "" {
				t.Error("no request id in the response")
			}
		})
	}

	if w := call(newTestHandler(&fakeService{}, nil), "PUT", one, registerOK, "Content-Type", "text/plain"); w.Code != 415 {
		t.Errorf("text/plain = %d, want 415", w.Code)
	}
}

func TestBody_EncodedIsRefused(t *testing.T) {
	h := newTestHandler(&fakeService{}, nil)
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	_, _ = writer.Write([]byte(registerOK))
	_ = writer.Close()

	for _, encoding := range []string{"gzip", "GZIP", "br", "deflate", "identity, gzip"} {
		w := call(h, "PUT", one, packed.String(), "Content-Encoding", encoding)
		if w.Code != 415 || !strings.Contains(w.Body.String(), "Content-Encoding must be identity") ||
			w.Header().Get("Accept-Encoding") != "identity" {
			t.Errorf("a body in %s = %d %v %s, want 415", encoding, w.Code, w.Header(), w.Body)
		}
	}
	if w := call(h, "POST", one+"/drain", packed.String(), "Content-Encoding", "gzip"); w.Code != 415 {
		t.Errorf("a drain's body in gzip = %d, want 415", w.Code)
	}
	if w := call(h, "PUT", one, registerOK, "Content-Encoding", "Identity"); w.Code != 200 {
		t.Errorf("a body in identity = %d, want 200", w.Code)
	}
}

func TestHandler_StatusOfServiceErrors(t *testing.T) {
	tests := []struct {
		err    error
		status int
		header string
	}{
		{service.ErrUnauthenticated, 401, "Www-Authenticate"},
		{service.ErrForbidden, 403, ""},
		{service.ErrNotRegistered, 404, ""},
		{service.ErrRateLimited, 429, "Retry-After"},
		{service.ErrUnavailable, 503, "Retry-After"},
		{context.DeadlineExceeded, 504, ""},
		{errors.New("SELECT secret"), 500, ""},
	}

	for _, tc := range tests {
		w := call(newTestHandler(&fakeService{err: tc.err}, nil), "GET", one, "")
		if w.Code != tc.status || tc.header != "" && w.Header().Get(tc.header) == "" || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%v = %d %v %s, want %d and %s", tc.err, w.Code, w.Header(), w.Body, tc.status, tc.header)
		}
	}
}

func TestHandler_SuccessfulResponses(t *testing.T) {
	svc := &fakeService{}
	h := newTestHandler(svc, map[string]string{"store": "ok"})
	tests := []struct{ method, path, body, want string }{
		{
			"PUT", one, registerOK,
			`{"accepted":true,"message":"Registration successful","fast_heartbeat_interval_ms":10000,"comprehensive_heartbeat_interval_ms":30000}`,
		},
		{"POST", one + "/heartbeats/fast", beatOK, `{"acknowledged":true,"timestamp":"2023-11-14T22:13:20Z"}`},
		{
			"POST", one + "/heartbeats/comprehensive", `{"capacity":{},"health":9,"cpu_usage_percent":1.5}`,
			`{"acknowledged":true,"timestamp":"2023-11-14T22:13:20Z"}`,
		},
		{"GET", "/health", "", "OK"},
		{"GET", "/ready", "", `{"ready":true,"checks":{"store":"ok"}}`},
	}

	for _, tc := range tests {
		w := call(h, tc.method, tc.path, tc.body, "X-Request-Id", "r-1")
		if got := strings.TrimSpace(w.Body.String()); w.Code != 200 || got != tc.want || w.Header().Get("X-Request-Id") != "r-1" {
			t.Errorf("%s %s = %d %s, want 200 %s", tc.method, tc.path, w.Code, got, tc.want)
		}
	}

	if got := svc.last.(service.ComprehensiveHeartbeat); got.Health != service.HealthUnhealthy || got.CPUUsagePercent != 1.5 ||
		got.ControllerID != "mc-1" {
		t.Errorf("the service got %+v, want an unhealthy mc-1", got)
	}

	if w := call(h, "GET", one, ""); !strings.Contains(w.Body.String(), `"health":"degraded"`) ||
		!strings.Contains(w.Body.String(), `"placement":{"placeable":true,"reasons":[]}`) {
		t.Errorf("GET one = %s", w.Body)
	}

	if w := call(h, "GET", "/api/v1/controllers?region=eu&page_size=2", ""); w.Code != 200 ||
		svc.last != (service.ListQuery{Region: "eu", PageSize: 2}) {
		t.Errorf("GET list = %d, query %+v", w.Code, svc.last)
	}

	if w := call(newTestHandler(svc, map[string]string{"store": "down"}), "GET", "/ready", ""); w.Code != 503 {
		t.Errorf("/ready with the store down = %d, want 503", w.Code)
	}
}

// TestHandler_CallTimeoutBeginsAtOnce checks that the timeout includes the time before the endpoint's own deadline begins.
func TestHandler_CallTimeoutBeginsAtOnce(t *testing.T) {
	svc := &fakeService{}
	call(newTestHandler(svc, nil), "GET", one, "")
	if svc.left <= 0 || svc.left > httpCallTimeout {
		t.Errorf("a call has %v left, want at most %v", svc.left, httpCallTimeout)
	}
}

// TestOpenAPI_HasEveryOperation checks that no operation is missing; make openapi-check checks that the document is valid.
func TestOpenAPI_HasEveryOperation(t *testing.T) {
	w := call(newTestHandler(&fakeService{}, nil), "GET", "/openapi.json", "")
	grpcOnly := map[string]string{
		"NotifyMeetingEnded": "media handlers call it over gRPC only",
		"StreamHeartbeats":   "HTTP has no streams of requests",
	}
	for _, op := range endpoints.Operations() {
		hasRoute := bytes.Contains(w.Body.Bytes(), []byte(`"operationId":"`+op.Name+`"`))
		switch reason := grpcOnly[op.Name]; {
		case !hasRoute && reason == "":
			t.Errorf("operation %s has no route in transport/http/routes.go", op.Name)
		case hasRoute && reason != "":
			t.Errorf("operation %s has a route in transport/http/routes.go, but it is listed as gRPC only: %s", op.Name, reason)
		}
	}
}

func FuzzBody(f *testing.F) {
	for _, seed := range []string{registerOK, beatOK, `{"a":{"b":[1,2]}}`, "null", `"\ud800"`, strings.Repeat("[", 1000)} {
		f.Add(seed)
	}
	h := newTestHandler(&fakeService{}, nil)
	f.Fuzz(func(t *testing.T, body string) {
		for _, path := range []string{one + "/heartbeats/fast", one + "/heartbeats/comprehensive"} {
			w := call(h, "POST", path, body)
			if w.Code != 200 && w.Code != 400 && w.Code != 413 || !json.Valid(w.Body.Bytes()) {
				t.Errorf("POST %s %q = %d %s", path, body, w.Code, w.Body)
			}
		}
	})
}
