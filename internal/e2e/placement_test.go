package e2e

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	fleetpb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// assignmentBody is an assignment over HTTP.
type assignmentBody struct {
	MeetingID    string `json:"meeting_id"`
	ControllerID string `json:"controller_id"`
	GRPCEndpoint string `json:"grpc_endpoint"`
	Generation   int64
	Reason       string
	Reused       bool
}

const assignmentsOf = "/api/v1/meetings/%s/assignments/eu-west-1"

// assignerToken returns a token that may assign meetings and nothing else.
func (env *environment) assignerToken() string {
	return env.issuer.token(nil, map[string]any{"sub": "join-service", "scope": "gc:assign"})
}

// assign assigns a meeting over HTTP.
func (env *environment) assign(meeting, body string) (httpResponse, assignmentBody) {
	env.t.Helper()
	got := env.request(http.MethodPut, fmt.Sprintf(assignmentsOf, meeting), body, bearer(env.assignerToken()))
	var assignment assignmentBody
	if got.status == http.StatusOK {
		got.decode(env.t, &assignment)
	}
	return got, assignment
}

func TestAssignMeeting_SameControllerOverBothTransports(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		env.registerHealthy("mc-1", "mc-2")
		got, first := env.assign("m-1", `{"expected_participants":7}`)
		if got.status != http.StatusOK || first.Reused || first.Generation == 0 || first.GRPCEndpoint != "http://mc.example:50052" {
			t.Fatalf("assign = %v, want a controller with its endpoint", got)
		}

		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+env.assignerToken())
		placement := fleetpb.NewPlacementServiceClient(env.conn)
		again, err := placement.AssignMeeting(ctx, &fleetpb.AssignMeetingRequest{MeetingId: "m-1", Region: "eu-west-1"})
		if err != nil || !again.GetReused() || again.GetAssignment().GetControllerId() != first.ControllerID ||
			again.GetAssignment().GetGeneration() != uint64(first.Generation) {
			t.Errorf("AssignMeeting(again) = %v, %v, want the same assignment", again, err)
		}
		read, err := placement.GetAssignment(ctx, &fleetpb.GetAssignmentRequest{MeetingId: "m-1", Region: "eu-west-1"})
		if err != nil || read.GetAssignment().GetExpectedParticipants() != 7 || read.GetAssignment().GetReason() == "" {
			t.Errorf("GetAssignment() = %v, %v, want it with its reason", read, err)
		}
		list, err := placement.ListAssignments(ctx, &fleetpb.ListAssignmentsRequest{ControllerId: first.ControllerID})
		if err != nil || len(list.GetAssignments()) != 1 {
			t.Errorf("ListAssignments() = %v, %v, want one", list, err)
		}

		env.checkEndedAssignment(ctx, first)
	})
}

// checkEndedAssignment ends an assignment, and assigns its meeting again with a higher generation.
func (env *environment) checkEndedAssignment(ctx context.Context, first assignmentBody) {
	env.t.Helper()
	placement := fleetpb.NewPlacementServiceClient(env.conn)
	wrong := uint64(first.Generation) + 1
	end := &fleetpb.EndAssignmentRequest{MeetingId: first.MeetingID, Region: "eu-west-1", ExpectedGeneration: &wrong}
	if _, err := placement.EndAssignment(ctx, end); status.Code(err) != codes.Aborted {
		env.t.Errorf("EndAssignment(another generation) = %v, want Aborted", err)
	}

	path := fmt.Sprintf(assignmentsOf, first.MeetingID)
	if got := env.request(http.MethodDelete, path+"?reason=over", "", bearer(env.assignerToken())); got.status != http.StatusOK {
		env.t.Errorf("end = %v, want 200", got)
	}
	if got := env.get(path, env.assignerToken()); !got.is(http.StatusNotFound, "Meeting not assigned") {
		env.t.Errorf("get after the end = %v, want 404", got)
	}
	if got, again := env.assign(first.MeetingID, ""); got.status != http.StatusOK || again.Reused || again.Generation <= first.Generation {
		env.t.Errorf("assign after the end = %v, want a higher generation", got)
	}
}

func TestAssignMeeting_Burst(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		env.registerHealthy("mc-1", "mc-2", "mc-3", "mc-4")
		var mu sync.Mutex
		counts := make(map[string]int)

		var all sync.WaitGroup
		for i := range 80 {
			all.Go(func() {
				got, assignment := env.assign(fmt.Sprintf("m-%d", i), "")
				if got.status != http.StatusOK {
					t.Errorf("assign = %v", got)
				}
				mu.Lock()
				counts[assignment.ControllerID]++
				mu.Unlock()
			})
		}
		all.Wait()

		for id, n := range counts {
			if n < 19 || n > 21 {
				t.Errorf("%s got %d of 80 meetings, want 20: %v", id, n, counts)
			}
		}
	})
}

func TestAssignMeeting_NoCandidate(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		env.register("mc-1", registration())
		const want = "no eligible controller in eu-west-1: 1 registered, 1 pending"
		if got, _ := env.assign("m-1", ""); !got.is(http.StatusServiceUnavailable, want) || got.header.Get("Retry-After") == "" {
			t.Errorf("assign = %v with Retry-After %q, want 503 with the reasons", got, got.header.Get("Retry-After"))
		}
	})
}

func TestAssignMeeting_Access(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		env.registerHealthy("mc-1")
		path := fmt.Sprintf(assignmentsOf, "m-1")
		for _, tc := range []struct {
			name, method, token string
			want                int
		}{
			{"a reader assigns", http.MethodPut, env.readerToken(), http.StatusForbidden},
			{"an operator assigns", http.MethodPut, env.adminToken(), http.StatusOK},
			{"a reader reads", http.MethodGet, env.readerToken(), http.StatusOK},
			{"a reader ends", http.MethodDelete, env.readerToken(), http.StatusForbidden},
			{"a controller reads", http.MethodGet, env.issuer.token(nil, nil), http.StatusForbidden},
		} {
			if got := env.request(tc.method, path, "", bearer(tc.token)); got.status != tc.want {
				t.Errorf("%s = %v, want %d", tc.name, got, tc.want)
			}
		}

		drain := env.request(http.MethodPost, "/api/v1/controllers/mc-1/drain", "", bearer(env.assignerToken()))
		if drain.status != http.StatusForbidden {
			t.Errorf("a join service drains = %v, want 403", drain)
		}
	})
}
