package e2e

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc/metadata"

	pb "darktower.example/global-controller/proto/darktower/v1"
)

// TestSharedID_IsShown makes two processes use one id without incarnations, as deployed controllers do.
func TestSharedID_IsShown(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", *env.controllerAuth())

		register := func(id, endpoint string) pb.GlobalControllerServiceClient {
			client := pb.NewGlobalControllerServiceClient(env.newConn())
			in := registerRequest(id)
			in.GrpcEndpoint = endpoint
			if _, err := client.RegisterMC(ctx, in); err != nil {
				t.Fatalf("register: %v", err)
			}
			return client
		}

		heartbeat := func(client pb.GlobalControllerServiceClient, id string) {
			in := &pb.ComprehensiveHeartbeatRequest{
				ControllerId: id,
				Capacity:     &pb.ControllerCapacity{},
				Health:       pb.HealthStatus_HEALTH_STATUS_HEALTHY,
			}
			if _, err := client.ComprehensiveHeartbeat(ctx, in); err != nil {
				t.Fatalf("heartbeat: %v", err)
			}
		}

		one := register("mc", "http://one.example")
		other := register("mc", "http://other.example")
		alone := register("alone", "http://alone.example")
		for range 3 {
			heartbeat(one, "mc")
			heartbeat(other, "mc")
			heartbeat(alone, "alone")
		}

		env.waitFor("the other process to be shown", func() bool {
			return !env.get("/api/v1/controllers/mc", env.readerToken()).is(http.StatusOK, `"incarnation_conflicts":0`)
		})
		if got := env.get("/api/v1/controllers/alone", env.readerToken()); !got.is(http.StatusOK, `"incarnation_conflicts":0`) {
			t.Errorf("a controller with one process = %v, want no conflict", got)
		}
		if got, ok := env.readMetric("gc_shared_id_heartbeats_total"); !ok || got == 0 {
			t.Errorf("gc_shared_id_heartbeats_total = %v, %v, want more than 0", got, ok)
		}
		if n := strings.Count(env.log.String(), "two processes use one controller id"); n != 1 {
			t.Errorf("logged %d times, want once a minute", n)
		}
	})
}
