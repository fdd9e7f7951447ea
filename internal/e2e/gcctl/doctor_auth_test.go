package gcctl_test

import (
	"context"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "darktower.example/global-controller/proto/darktower/v1"
)

// TestDoctor_DroppedKeys rotates the key without keeping the old one published. Controllers renew tokens by time only.
func TestDoctor_DroppedKeys(t *testing.T) {
	runOnBothStores(t, func(t *testing.T, e *environment) {
		e.register(newTestController("mc-1", "eu", 1), newTestController("mc-2", "eu", 1))
		oldToken := e.issueToken("mc-fleet", "mc:register")
		if err := e.ac.RotateKey(false); err != nil {
			t.Fatal(err)
		}
		e.waitUntil("the new key is fetched", func() bool {
			code, _ := e.get("/api/v1/controllers", "dev-reader")
			return code == 200
		})

		ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+oldToken)
		for _, id := range []string{"mc-1", "mc-2"} {
			heartbeat := &pb.FastHeartbeatRequest{ControllerId: id, Capacity: &pb.ControllerCapacity{}}
			_, err := pb.NewGlobalControllerServiceClient(e.conn).FastHeartbeat(ctx, heartbeat)
			if status.Code(err) != codes.Unauthenticated {
				t.Errorf("a heartbeat with a token of the dropped key = %v, want Unauthenticated", err)
			}
		}
		e.checkFinding(e.doctorFindings(1), "dropped keys", "FAIL", "2 controllers were refused", "publish the key again")
	})
}
