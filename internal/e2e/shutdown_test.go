package e2e

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"darktower.example/global-controller/internal/daemon"
)

// TestShutdown_CompletesCallsInFlight checks that a call over HTTP completes, and reaches the store, after the shutdown began.
func TestShutdown_CompletesCallsInFlight(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, sqliteURL(t), nil).waitReady()
	env.register("mc", registration())
	readiness, err := healthgrpc.NewHealthClient(env.conn).Watch(t.Context(), &healthgrpc.HealthCheckRequest{})
	if err != nil {
		t.Fatalf("watch the health: %v", err)
	}

	// A call is in flight while its body is incomplete. The client sends none before the server requests it, so that the
	// call has arrived when the body is read first.
	transport := &http.Transport{ExpectContinueTimeout: time.Minute}
	defer transport.CloseIdleConnections()
	body := &slowBody{parts: make(chan string), started: make(chan struct{})}
	responses := make(chan httpResponse, 1)

	go func() {
		url := "http://" + env.httpAddress + "/api/v1/controllers/mc/heartbeats/fast"
		request, _ := http.NewRequestWithContext(context.Background(), http.MethodPost, url, body)
		request.Header = http.Header{
			"Authorization": {*env.controllerAuth()},
			"Content-Type":  {"application/json"},
			"Expect":        {"100-continue"},
		}

		response, err := transport.RoundTrip(request)
		if err != nil {
			responses <- httpResponse{body: err.Error()}
			return
		}

		_ = response.Body.Close()
		responses <- httpResponse{status: response.StatusCode}
	}()

	<-body.started
	data, _ := json.Marshal(fastHeartbeat())
	body.parts <- string(data[:5])
	env.beginShutdown()

	for got := new(healthgrpc.HealthCheckResponse); err == nil && got.GetStatus() != healthgrpc.HealthCheckResponse_NOT_SERVING; {
		got, err = readiness.Recv()
	}
	if err != nil && status.Code(err) != codes.Unavailable {
		t.Fatalf("the health ends with %v, want UNAVAILABLE", err)
	}

	body.parts <- string(data[5:])
	close(body.parts)
	if got := <-responses; got.status != http.StatusOK {
		t.Errorf("the call in flight = %d %s, want 200", got.status, got.body)
	}

	env.shutDown()
}

// slowBody is a request's body whose parts a test sends.
type slowBody struct {
	parts     chan string
	started   chan struct{}
	isStarted bool
}

// Read implements [io.Reader].
func (s *slowBody) Read(p []byte) (int, error) {
	if !s.isStarted {
		s.isStarted = true
		close(s.started)
	}
	part, ok := <-s.parts
	if !ok {
		return 0, io.EOF
	}
	return copy(p, part), nil
}

func TestShutdown_EndsAtItsTimeout(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, sqliteURL(t), func(c *daemon.Config) { c.ShutdownTimeout = time.Second }).waitReady()

	// This stream has no end of its own.
	watch, err := healthgrpc.NewHealthClient(env.conn).Watch(t.Context(), &healthgrpc.HealthCheckRequest{})
	if err != nil {
		t.Fatalf("watch: %v", err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatalf("watch: %v", err)
	}

	began := time.Now()
	env.shutDown()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the shutdown took %v, want about its timeout of 1 s at most", took)
	}
}

// checkStreamEnds begins the shutdown, and checks that it ends a stream and does not wait for its client.
func (env *environment) checkStreamEnds(receive func() error) {
	env.t.Helper()
	began := time.Now()
	env.beginShutdown()
	if err := receive(); status.Code(err) != codes.Unavailable {
		env.t.Errorf("the stream ended with %v, want UNAVAILABLE", err)
	}
	env.shutDown()
	if took := time.Since(began); took > env.cfg.ShutdownTimeout {
		env.t.Errorf("the shutdown took %v, want less than its timeout of %v", took, env.cfg.ShutdownTimeout)
	}
}

func TestShutdown_EndsHeartbeatStream(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, sqliteURL(t), nil).waitReady()
	env.register("mc", registration())
	stream, err := env.openStream(t.Context(), *env.controllerAuth())
	if err != nil {
		t.Fatalf("open: %v", err)
	}

	_ = stream.Send(streamHeartbeat(1, "mc", 1))
	if out, err := stream.Recv(); err != nil || !out.GetAcknowledged() {
		t.Fatalf("heartbeat = %v, %v", out, err)
	}
	env.checkStreamEnds(func() error {
		_, err := stream.Recv()
		return err
	})
}

func TestShutdown_EndsIdleReflectionStream(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, sqliteURL(t), func(cfg *daemon.Config) {
		cfg.GRPCReflection, cfg.ShutdownTimeout = true, waitTimeout
	}).waitReady()
	stream, err := reflectionpb.NewServerReflectionClient(env.conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatalf("open: %v", err)
	}

	_ = stream.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
	if _, err := stream.Recv(); err != nil {
		t.Fatalf("list services: %v", err)
	}
	env.checkStreamEnds(func() error {
		_, err := stream.Recv()
		return err
	})
}
