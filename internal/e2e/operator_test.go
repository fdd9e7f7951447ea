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

// TestIncarnation_OlderProcessIsRefused holds that the older of two processes is refused and changes nothing, whichever way
// they come.
func TestIncarnation_OlderProcessIsRefused(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, nil).waitReady()

		for _, via := range protocols() {
			t.Run(via.name, func(t *testing.T) {
				id := strings.ReplaceAll(via.name, " ", "-")
				as := func(operation, incarnation string, fields map[string]any) outcome {
					return env.send(via, call{operation, id, with(fields, "incarnation", incarnation), env.controllerAuth()})
				}

				for _, step := range []struct {
					operation, incarnation string
					want                   outcome
				}{
					{"RegisterMC", "one", outcome{}},
					{"FastHeartbeat", "one", outcome{}},
					{"RegisterMC", "one", outcome{}}, // Once more changes no state.
					{"check healthy", "one", outcome{}},
					{"RegisterMC", "two", outcome{}},
					{"check pending", "two", outcome{}},
					{"FastHeartbeat", "one", superseded},
					{"RegisterMC", "one", superseded},
					{"check pending", "two", outcome{}},
					{"FastHeartbeat", "two", outcome{}},
					{"FastHeartbeat", "", outcome{}}, // As controllers in the field do.
					{"check healthy", "two", outcome{}},
				} {
					if state, ok := strings.CutPrefix(step.operation, "check "); ok {
						if got := env.get("/api/v1/controllers/"+id, env.readerToken()).body; !strings.Contains(got, `"health":"`+state+`"`) || !strings.Contains(got, `"incarnation":"`+step.incarnation+`"`) {
							t.Errorf("shown = %s, want %s %s", got, step.incarnation, state)
						}
						continue
					}

					fields := fastHeartbeat()
					if step.operation == "RegisterMC" {
						fields = registration()
					}
					if got := as(step.operation, step.incarnation, fields); got != step.want {
						t.Errorf("%s of %q = %v, want %v", step.operation, step.incarnation, got, step.want)
					}
				}

				env.waitFor("2 conflicts of "+id, func() bool {
					return strings.Contains(env.get("/api/v1/controllers/"+id, env.readerToken()).body, `"incarnation_conflicts":2`)
				})
			})
		}

		if got := env.get("/metrics", "").body; !strings.Contains(got, "\ngc_incarnation_conflicts_total 6\n") {
			t.Error("the metrics lack the 6 conflicts")
		}
	})
}

// TestDrain_StaysUntilUndone drains over HTTP and gRPC, and holds who may.
func TestDrain_StaysUntilUndone(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		const one = "/api/v1/controllers/mc"
		env.registerHealthy("mc", "beside-1", "beside-2")
		for token, want := range map[string]int{"": http.StatusUnauthorized, env.readerToken(): http.StatusForbidden, strings.TrimPrefix(*env.controllerAuth(), "Bearer "): http.StatusForbidden, env.adminToken(): http.StatusOK} {
			if got := env.request(http.MethodPost, one+"/drain", `{"reason":"kernel","deadline":"2031-02-03T04:05:06Z"}`, bearer(token)); got.status != want {
				t.Errorf("drain = %d %s, want %d", got.status, got.body, want)
			}
		}

		answer, err := env.invoke(viaGRPC.service, call{"FastHeartbeat", "mc", fastHeartbeat(), env.controllerAuth()})
		if intent := answer.(*pb.FastHeartbeatResponse).GetOperatorIntent(); err != nil || !intent.GetDraining() || intent.GetReason() != "kernel" || intent.GetDeadline() != 1927857906 {
			t.Errorf("heartbeat = %v, %v, want the operator's intent", answer, err)
		}
		if got := env.send(viaHTTP, call{"RegisterMC", "mc", registration(), env.controllerAuth()}); got != (outcome{}) {
			t.Errorf("registering = %v", got)
		}
		if got := env.get(one, env.readerToken()).body; !strings.Contains(got, `"health":"draining"`) || !strings.Contains(got, `"by":"operator-1"`) {
			t.Errorf("shown = %s, want it draining", got)
		}

		if got := env.request(http.MethodDelete, one+"/drain?expected_generation=7", "", bearer(env.adminToken())); got.status != http.StatusConflict {
			t.Errorf("undrain of another generation = %d %s, want 409", got.status, got.body)
		}
		fleet := fleetpb.NewFleetServiceClient(env.conn)
		ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+env.adminToken())
		if got, err := fleet.Undrain(ctx, &fleetpb.UndrainRequest{ControllerId: "mc"}); err != nil || got.GetController().GetHealth() != fleetpb.Health_HEALTH_PENDING {
			t.Errorf("Undrain() = %v, %v, want it pending", got, err)
		}

		history, err := fleet.ListTransitions(ctx, &fleetpb.ListTransitionsRequest{ControllerId: "mc"})
		if err != nil || len(history.GetTransitions()) != 4 {
			t.Errorf("ListTransitions() = %v, %v, want new, healthy, draining and pending", history, err)
		}
		if got := env.get(one+"/transitions?page_size=1", env.readerToken()); got.status != http.StatusOK || !strings.Contains(got.body, `"from":null,"to":"pending"`) {
			t.Errorf("history over HTTP = %d %s, want the first change", got.status, got.body)
		}
	})
}

// TestDeregister_Permissions holds who may take a controller out of the fleet.
func TestDeregister_Permissions(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, func(c *daemon.Config) { c.SubjectIsController = true }).waitReady()
		mc := env.issuer.token(nil, map[string]any{"sub": "mc"})
		header := "Bearer " + mc

		register := func() {
			t.Helper()
			if got := env.send(viaGRPC, call{"RegisterMC", "mc", with(registration(), "incarnation", "one"), &header}); got != (outcome{}) {
				t.Fatalf("RegisterMC() = %v", got)
			}
		}

		register()
		fleet := fleetpb.NewFleetServiceClient(env.conn)
		deregister := func(token, id, incarnation string) codes.Code {
			ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+token)
			_, err := fleet.Deregister(ctx, &fleetpb.DeregisterRequest{ControllerId: id, Incarnation: incarnation})
			return status.Code(err)
		}

		for _, tc := range []struct {
			name, token, id, incarnation string
			want                         codes.Code
		}{
			{"a reader", env.readerToken(), "mc", "one", codes.PermissionDenied},
			{"another controller", env.issuer.token(nil, map[string]any{"sub": "mc-2"}), "mc", "one", codes.PermissionDenied},
			{"itself, without saying which process it is", mc, "mc", "", codes.PermissionDenied},
			{"itself, as another process", mc, "mc", "two", codes.FailedPrecondition},
			{"itself", mc, "mc", "one", codes.OK},
			{"itself again", mc, "mc", "one", codes.NotFound},
			{"an operator, of nobody", env.adminToken(), "mc", "", codes.NotFound},
		} {
			if got := deregister(tc.token, tc.id, tc.incarnation); got != tc.want {
				t.Errorf("%s: Deregister() = %v, want %v", tc.name, got, tc.want)
			}
		}

		// A controller in the field registers without an incarnation. One that is made up shows nothing.
		other := env.issuer.token(nil, map[string]any{"sub": "mc-plain"})
		otherHeader := "Bearer " + other
		if got := env.send(viaGRPC, call{"RegisterMC", "mc-plain", registration(), &otherHeader}); got != (outcome{}) {
			t.Fatalf("RegisterMC(mc-plain) = %v", got)
		}
		if got := deregister(other, "mc-plain", "made-up"); got != codes.PermissionDenied {
			t.Errorf("Deregister() of a controller without an incarnation, by a made-up one = %v, want PermissionDenied", got)
		}
		if got := env.request(http.MethodDelete, "/api/v1/controllers/mc-plain", "", bearer(other)); got.status != http.StatusForbidden {
			t.Errorf("the same over HTTP = %d %s, want 403", got.status, got.body)
		}

		if got := env.get("/api/v1/controllers/mc-plain", env.readerToken()); got.status != http.StatusOK {
			t.Errorf("the controller = %d %s, want it to be there still", got.status, got.body)
		}
		if got := deregister(env.adminToken(), "mc-plain", "made-up"); got != codes.OK {
			t.Errorf("an operator's Deregister() = %v, want OK", got)
		}

		register()
		if got := env.request(http.MethodDelete, "/api/v1/controllers/mc", "", bearer(mc)); got.status != http.StatusForbidden {
			t.Errorf("a controller over HTTP = %d %s, want 403", got.status, got.body)
		}
		if got := env.request(http.MethodDelete, "/api/v1/controllers/mc?reason=scrapped", "", bearer(env.adminToken())); got.status != http.StatusOK {
			t.Errorf("an operator over HTTP = %d %s, want 200", got.status, got.body)
		}
		if got := env.get("/api/v1/controllers/mc/transitions?after=1", env.readerToken()).body; !strings.Contains(got, `"reason":"scrapped"`) || !strings.Contains(got, `"cause":"retired"`) {
			t.Errorf("history = %s, want both departures", got)
		}
	})
}
