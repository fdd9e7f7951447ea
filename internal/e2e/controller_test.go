package e2e

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	pb "darktower.example/global-controller/proto/darktower/v1"
)

// TestController_RegistrationAndHeartbeats checks the responses to a deployed meeting controller, and how it is shown.
func TestController_RegistrationAndHeartbeats(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		for _, via := range []protocol{viaGRPC, viaOlderGRPC} {
			t.Run(via.name, func(t *testing.T) {
				id := strings.ReplaceAll(via.name, " ", "-")
				notRegistered := outcome{codes.NotFound, "Controller not registered"}
				if got := env.send(via, call{"FastHeartbeat", id, fastHeartbeat(), env.controllerAuth()}); got != notRegistered {
					t.Errorf("heartbeat before registering = %v, want %v", got, notRegistered)
				}

				registered, err := env.invoke(via.service, call{"RegisterMC", id, registration(), env.controllerAuth()})
				want := &pb.RegisterMCResponse{
					Accepted:                         true,
					Message:                          "Registration successful",
					FastHeartbeatIntervalMs:          10000,
					ComprehensiveHeartbeatIntervalMs: 30000,
				}
				if diff := cmp.Diff(want, registered, protocmp.Transform()); err != nil || diff != "" {
					t.Errorf("RegisterMC() = %v; -want +got:\n%s", err, diff)
				}
				if got := env.listFleet()[id].Health; got != "pending" {
					t.Errorf("after registering it is %s, want pending", got)
				}

				for number, health := range map[int]string{
					0: "pending", 1: "healthy", 2: "degraded", 3: "unhealthy", 4: "draining", 9: "unhealthy",
				} {
					env.checkReportedHealth(via, id, number, health)
				}

				shown := env.get("/api/v1/controllers/"+id, env.readerToken())
				if !shown.is(http.StatusOK, `"cpu_usage_percent":12.5`, `"memory_usage_percent":50`, `"current_meetings":3`,
					`"current_participants":30`, `"max_meetings":100`, `"region":"eu-west-1"`, `"webtransport_endpoint":"https://mc.example:4433"`) {
					t.Errorf("shown = %v, want what it registered and reported", shown)
				}

				if got := env.send(via, call{"RegisterMC", id, registration(), env.controllerAuth()}); got != (outcome{}) {
					t.Errorf("registering again = %v, want OK", got)
				}
				if got := env.listFleet()[id]; got.Health != "pending" || got.CurrentMeetings != 3 {
					t.Errorf("after registering again it is %+v, want pending with its load", got)
				}
			})
		}
	})
}

// checkReportedHealth sends a heartbeat with a health, and checks the response and the controller's state.
func (env *environment) checkReportedHealth(via protocol, id string, number int, health string) {
	env.t.Helper()
	began := time.Now().Unix()
	fields := with(comprehensiveHeartbeat(), "health", number)
	response, err := env.invoke(via.service, call{"ComprehensiveHeartbeat", id, fields, env.controllerAuth()})
	if err != nil {
		env.t.Fatalf("heartbeat: %v", err)
	}

	ack := response.(*pb.ComprehensiveHeartbeatResponse)
	if at := int64(ack.GetTimestamp()); !ack.GetAcknowledged() || at < began-1 || at > time.Now().Unix()+1 {
		env.t.Errorf("heartbeat = %v, want it acknowledged with the time in seconds", ack)
	}
	if got := env.listFleet()[id].Health; got != health {
		env.t.Errorf("after reporting %d it is %s, want %s", number, got, health)
	}
}

func TestNotifyMeetingEnded_AcknowledgesValidRequests(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, nil).waitReady()

		client := pb.NewGlobalControllerServiceClient(env.conn)
		ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", *env.controllerAuth())
		got, err := client.NotifyMeetingEnded(ctx, &pb.NotifyMeetingEndedRequest{MeetingId: "m-1", Region: "eu-west-1"})
		if err != nil || !got.GetAcknowledged() {
			t.Errorf("NotifyMeetingEnded() = %v, %v, want it acknowledged", got, err)
		}

		for id, message := range map[string]string{
			"":                       "meeting_id is required",
			"a b":                    "meeting_id contains invalid characters",
			strings.Repeat("m", 256): "meeting_id is too long",
		} {
			_, err := client.NotifyMeetingEnded(ctx, &pb.NotifyMeetingEndedRequest{MeetingId: id, Region: "eu-west-1"})
			if status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != message {
				t.Errorf("NotifyMeetingEnded(%q) = %v, want %s", id, err, message)
			}
		}

		older := "/" + viaOlderGRPC.service + "/NotifyMeetingEnded"
		err = env.conn.Invoke(ctx, older, &pb.NotifyMeetingEndedRequest{}, &pb.NotifyMeetingEndedResponse{})
		if status.Code(err) != codes.Unimplemented {
			t.Errorf("NotifyMeetingEnded by the older name = %v, want Unimplemented", err)
		}
	})
}
