package gcctl_test

import (
	"context"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "darktower.example/global-controller/proto/darktower/v1"
)

// TestTheDoctor_FindsDroppedKeys rotates the key without keeping the old one published: controllers renew by time only.
func TestTheDoctor_FindsDroppedKeys(t *testing.T) {
	onBothStores(t, func(t *testing.T, w *world) {
		w.register(controllerOf("mc-1", "eu", 1), controllerOf("mc-2", "eu", 1))
		old := w.token("mc-fleet", "mc:register")
		if err := w.ac.RotateKey(false); err != nil {
			t.Fatal(err)
		}
		w.until("the new key is fetched", func() bool {
			code, _ := w.get("/api/v1/controllers", "dev-reader")
			return code == 200
		})
		ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+old)
		for _, id := range []string{"mc-1", "mc-2"} {
			beat := &pb.FastHeartbeatRequest{ControllerId: id, Capacity: &pb.ControllerCapacity{}}
			_, err := pb.NewGlobalControllerServiceClient(w.conn).FastHeartbeat(ctx, beat)
			if status.Code(err) != codes.Unauthenticated {
				t.Errorf("a heartbeat by the dropped key = %v, want Unauthenticated", err)
			}
		}
		w.finds(w.results(1), "dropped keys", "FAIL", "2 controllers were refused", "publish the key again")
	})
}
