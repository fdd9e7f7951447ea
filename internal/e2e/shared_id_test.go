package e2e

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc/metadata"

	pb "darktower.example/global-controller/proto/darktower/v1"
)

// TestSharedID_IsShown has two processes without incarnations, as controllers in the field are, use one id.
func TestSharedID_IsShown(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", *env.controllerAuth())
		process := func() pb.GlobalControllerServiceClient {
			conn := env.newConn()
			return pb.NewGlobalControllerServiceClient(conn)
		}
		register := func(mc pb.GlobalControllerServiceClient, id, endpoint string) {
			if _, err := mc.RegisterMC(ctx, &pb.RegisterMCRequest{Id: id, Region: "eu", GrpcEndpoint: endpoint, MaxMeetings: 1, MaxParticipants: 1}); err != nil {
				t.Fatalf("register: %v", err)
			}
		}

		beat := func(mc pb.GlobalControllerServiceClient, id string) {
			if _, err := mc.ComprehensiveHeartbeat(ctx, &pb.ComprehensiveHeartbeatRequest{
				ControllerId: id, Capacity: &pb.ControllerCapacity{}, Health: pb.HealthStatus_HEALTH_STATUS_HEALTHY,
			}); err != nil {
				t.Fatalf("heartbeat: %v", err)
			}
		}

		one, other, alone := process(), process(), process()
		register(one, "mc", "http://one.example")
		register(other, "mc", "http://other.example")
		register(alone, "alone", "http://alone.example")
		for range 3 {
			beat(one, "mc")
			beat(other, "mc")
			beat(alone, "alone")
		}

		env.waitFor("the other process to be shown", func() bool {
			return !strings.Contains(env.get("/api/v1/controllers/mc", env.readerToken()).body, `"incarnation_conflicts":0`)
		})
		if got := env.get("/api/v1/controllers/alone", env.readerToken()).body; !strings.Contains(got, `"incarnation_conflicts":0`) {
			t.Errorf("a controller with one process = %s, want no conflict", got)
		}
		if got := env.get("/metrics", "").body; strings.Contains(got, "\ngc_shared_id_heartbeats_total 0\n") || !strings.Contains(got, "gc_shared_id_heartbeats_total") {
			t.Error("/metrics lacks gc_shared_id_heartbeats_total, or it is 0")
		}

		if n := strings.Count(env.log.String(), "two processes use one controller id"); n != 1 {
			t.Errorf("logged %d times, want once a minute", n)
		}
	})
}
