package e2e

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"darktower.example/global-controller/internal/daemon"
	pb "darktower.example/global-controller/proto/darktower/v1"
	fleetpb "darktower.example/global-controller/proto/globalcontroller/v1"
)

var superseded = outcome{codes.FailedPrecondition, "Another incarnation of this controller is registered"}

// TestIncarnation_OlderProcessIsRefused checks that the older of two processes is refused and changes nothing, over every
// protocol.
func TestIncarnation_OlderProcessIsRefused(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		for _, via := range protocols() {
			t.Run(via.name, func(t *testing.T) { testOlderProcess(t, env, via) })
		}
		if got, _ := env.readMetric("gc_incarnation_conflicts_total"); got != 6 {
			t.Errorf("gc_incarnation_conflicts_total = %v, want 6", got)
		}
	})
}

// testOlderProcess makes two processes call in turns, and makes two conflicts.
func testOlderProcess(t *testing.T, env *environment, via protocol) {
	id := strings.ReplaceAll(via.name, " ", "-")
	path := "/api/v1/controllers/" + id

	for _, step := range []struct {
		operation, incarnation string
		want                   outcome
		// Health and incarnation of the controller after the step; empty if they are not checked.
		health, current string
	}{
		{"RegisterMC", "one", outcome{}, "", ""},
		{"FastHeartbeat", "one", outcome{}, "", ""},
		{"RegisterMC", "one", outcome{}, "healthy", "one"}, // To register again changes no state.
		{"RegisterMC", "two", outcome{}, "pending", "two"},
		{"FastHeartbeat", "one", superseded, "", ""},
		{"RegisterMC", "one", superseded, "pending", "two"},
		{"FastHeartbeat", "two", outcome{}, "", ""},
		{"FastHeartbeat", "", outcome{}, "healthy", "two"}, // Deployed controllers name no incarnation.
	} {

		fields := with(validFields(step.operation), "incarnation", step.incarnation)
		if got := env.send(via, call{step.operation, id, fields, env.controllerAuth()}); got != step.want {
			t.Errorf("%s of %q = %v, want %v", step.operation, step.incarnation, got, step.want)
		}

		if step.health == "" {
			continue
		}
		got := env.get(path, env.readerToken())
		if !got.is(http.StatusOK, `"health":"`+step.health+`"`, `"incarnation":"`+step.current+`"`) {
			t.Errorf("after %s of %q shown = %v, want %s %s", step.operation, step.incarnation, got, step.current, step.health)
		}
	}

	env.waitFor("2 conflicts of "+id, func() bool {
		return env.get(path, env.readerToken()).is(http.StatusOK, `"incarnation_conflicts":2`)
	})
}

// TestDrain_StaysUntilUndone drains over HTTP and gRPC, and checks the permissions.
func TestDrain_StaysUntilUndone(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		const path = "/api/v1/controllers/mc"
		env.registerHealthy("mc", "beside-1", "beside-2")
		for token, want := range map[string]int{
			"":                         http.StatusUnauthorized,
			env.readerToken():          http.StatusForbidden,
			env.issuer.token(nil, nil): http.StatusForbidden,
			env.adminToken():           http.StatusOK,
		} {
			body := `{"reason":"kernel","deadline":"2031-02-03T04:05:06Z"}`
			if got := env.request(http.MethodPost, path+"/drain", body, bearer(token)); got.status != want {
				t.Errorf("drain = %v, want %d", got, want)
			}
		}

		response, err := env.invoke(viaGRPC.service, call{"FastHeartbeat", "mc", fastHeartbeat(), env.controllerAuth()})
		intent := response.(*pb.FastHeartbeatResponse).GetOperatorIntent()
		if err != nil || !intent.GetDraining() || intent.GetReason() != "kernel" || intent.GetDeadline() != 1927857906 {
			t.Errorf("heartbeat = %v, %v, want the operator's intent", response, err)
		}
		if got := env.send(viaHTTP, call{"RegisterMC", "mc", registration(), env.controllerAuth()}); got != (outcome{}) {
			t.Errorf("registering = %v", got)
		}
		if got := env.get(path, env.readerToken()); !got.is(http.StatusOK, `"health":"draining"`, `"by":"operator-1"`) {
			t.Errorf("shown = %v, want it draining", got)
		}

		undrain := env.request(http.MethodDelete, path+"/drain?expected_generation=7", "", bearer(env.adminToken()))
		if undrain.status != http.StatusConflict {
			t.Errorf("undrain of another generation = %v, want 409", undrain)
		}
		fleet := fleetpb.NewFleetServiceClient(env.conn)
		undrained, err := fleet.Undrain(env.adminContext(), &fleetpb.UndrainRequest{ControllerId: "mc"})
		if err != nil || undrained.GetController().GetHealth() != fleetpb.Health_HEALTH_PENDING {
			t.Errorf("Undrain() = %v, %v, want it pending", undrained, err)
		}
		history, err := fleet.ListTransitions(env.adminContext(), &fleetpb.ListTransitionsRequest{ControllerId: "mc"})
		if err != nil || len(history.GetTransitions()) != 4 {
			t.Errorf("ListTransitions() = %v, %v, want new, healthy, draining and pending", history, err)
		}
		first := env.get(path+"/transitions?page_size=1", env.readerToken())
		if !first.is(http.StatusOK, `"from":null,"to":"pending"`) {
			t.Errorf("history over HTTP = %v, want the first transition", first)
		}
	})
}

// TestDeregister_Permissions checks which callers may deregister a controller.
func TestDeregister_Permissions(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, func(c *daemon.Config) { c.SubjectIsController = true }).waitReady()
		const path = "/api/v1/controllers/mc"
		token := env.issuer.token(nil, map[string]any{"sub": "mc"})
		register := func() {
			t.Helper()
			fields := with(registration(), "incarnation", "one")
			if got := env.send(viaGRPC, call{"RegisterMC", "mc", fields, new("Bearer " + token)}); got != (outcome{}) {
				t.Fatalf("RegisterMC() = %v", got)
			}
		}

		register()
		for _, tc := range []struct {
			name, token, id, incarnation string
			want                         codes.Code
		}{
			{"a reader", env.readerToken(), "mc", "one", codes.PermissionDenied},
			{"another controller", env.issuer.token(nil, map[string]any{"sub": "mc-2"}), "mc", "one", codes.PermissionDenied},
			{"itself, without an incarnation", token, "mc", "", codes.PermissionDenied},
			{"itself, as another process", token, "mc", "two", codes.FailedPrecondition},
			{"itself", token, "mc", "one", codes.OK},
			{"itself again", token, "mc", "one", codes.NotFound},
			{"an operator, of an unknown controller", env.adminToken(), "mc", "", codes.NotFound},
		} {
			if got := env.deregister(tc.token, tc.id, tc.incarnation); got != tc.want {
				t.Errorf("%s: Deregister() = %v, want %v", tc.name, got, tc.want)
			}
		}

		register()
		if got := env.request(http.MethodDelete, path, "", bearer(token)); got.status != http.StatusForbidden {
			t.Errorf("a controller over HTTP = %v, want 403", got)
		}
		if got := env.request(http.MethodDelete, path+"?reason=scrapped", "", bearer(env.adminToken())); got.status != http.StatusOK {
			t.Errorf("an operator over HTTP = %v, want 200", got)
		}
		history := env.get(path+"/transitions?after=1", env.readerToken())
		if !history.is(http.StatusOK, `"reason":"scrapped"`, `"cause":"retired"`) {
			t.Errorf("history = %v, want both deregistrations", history)
		}
	})
}

// TestDeregister_WithoutIncarnation checks that a controller which registered without an incarnation, as deployed ones do,
// cannot deregister itself with an invented one.
func TestDeregister_WithoutIncarnation(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, func(c *daemon.Config) { c.SubjectIsController = true }).waitReady()
		const path = "/api/v1/controllers/mc"
		token := env.issuer.token(nil, map[string]any{"sub": "mc"})
		if got := env.send(viaGRPC, call{"RegisterMC", "mc", registration(), new("Bearer " + token)}); got != (outcome{}) {
			t.Fatalf("RegisterMC() = %v", got)
		}

		if got := env.deregister(token, "mc", "invented"); got != codes.PermissionDenied {
			t.Errorf("Deregister() with an invented incarnation = %v, want PermissionDenied", got)
		}
		if got := env.request(http.MethodDelete, path, "", bearer(token)); got.status != http.StatusForbidden {
			t.Errorf("the same over HTTP = %v, want 403", got)
		}
		if got := env.get(path, env.readerToken()); got.status != http.StatusOK {
			t.Errorf("the controller = %v, want it registered", got)
		}
		if got := env.deregister(env.adminToken(), "mc", "invented"); got != codes.OK {
			t.Errorf("an operator's Deregister() = %v, want OK", got)
		}
	})
}

// deregister deregisters a controller over gRPC.
func (env *environment) deregister(token, id, incarnation string) codes.Code {
	ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+token)
	in := &fleetpb.DeregisterRequest{ControllerId: id, Incarnation: incarnation}
	_, err := fleetpb.NewFleetServiceClient(env.conn).Deregister(ctx, in)
	return status.Code(err)
}
