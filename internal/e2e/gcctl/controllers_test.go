package gcctl_test

import (
	"context"
	"fmt"

	"google.golang.org/grpc/metadata"

	pb "darktower.example/global-controller/proto/darktower/v1"
)

// testController is a meeting controller.
type testController struct {
	id              string
	region          string
	health          pb.HealthStatus
	meetings        uint32
	maxMeetings     uint32
	participants    uint32
	maxParticipants uint32
}

// newTestController returns a healthy controller for 100 meetings, with five participants in each meeting.
func newTestController(id, region string, meetings uint32) testController {
	return testController{
		id:              id,
		region:          region,
		health:          pb.HealthStatus_HEALTH_STATUS_HEALTHY,
		meetings:        meetings,
		maxMeetings:     100,
		participants:    meetings * 5,
		maxParticipants: 5000,
	}
}

// register registers controllers and sends a heartbeat for each.
func (e *environment) register(controllers ...testController) {
	e.t.Helper()
	for _, c := range controllers {
		_, err := pb.NewGlobalControllerServiceClient(e.conn).RegisterMC(e.mcContext(), &pb.RegisterMCRequest{
			Id:                   c.id,
			Region:               c.region,
			GrpcEndpoint:         "http://" + c.id + ".example:50052",
			WebtransportEndpoint: "https://" + c.id + ".example:4433",
			MaxMeetings:          c.maxMeetings,
			MaxParticipants:      c.maxParticipants,
		})
		if err != nil {
			e.t.Fatalf("register %s: %v", c.id, err)
		}

		e.sendHeartbeat(c)
	}
}

// registerSix registers mc-eu-1 to mc-eu-3 and mc-us-1 to mc-us-3 with 10, 20 and 30 meetings.
func (e *environment) registerSix() {
	e.t.Helper()
	for _, region := range []string{"eu", "us"} {
		for i := range uint32(3) {
			e.register(newTestController(fmt.Sprintf("mc-%s-%d", region, i+1), region, 10*(i+1)))
		}
	}
}

func (e *environment) sendHeartbeat(c testController) {
	e.t.Helper()
	heartbeat := &pb.ComprehensiveHeartbeatRequest{
		ControllerId:       c.id,
		Health:             c.health,
		CpuUsagePercent:    12,
		MemoryUsagePercent: 34,
		Capacity: &pb.ControllerCapacity{
			MaxMeetings:         c.maxMeetings,
			CurrentMeetings:     c.meetings,
			MaxParticipants:     c.maxParticipants,
			CurrentParticipants: c.participants,
		},
	}

	_, err := pb.NewGlobalControllerServiceClient(e.conn).ComprehensiveHeartbeat(e.mcContext(), heartbeat)
	if err != nil {
		e.t.Fatalf("heartbeat of %s: %v", c.id, err)
	}
}

// mcContext returns a context for calls with the token of a meeting controller.
func (e *environment) mcContext() context.Context {
	token := e.issueToken("dev-mc", "mc:register")
	return metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+token)
}
