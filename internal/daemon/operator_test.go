package daemon

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "darktower.example/global-controller/proto/darktower/v1"
	fleetpb "darktower.example/global-controller/proto/globalcontroller/v1"
)

func (w *world) admin() string {
	return w.issuer.token(nil, map[string]any{"sub": "operator-1", "scope": "gc:admin"})
}

var superseded = outcome{codes.FailedPrecondition, "Another incarnation of this controller is registered"}

// TestTwoProcessesOfOneController holds that the older of two processes is refused and changes nothing, whichever way
// they come.
func TestTwoProcessesOfOneController(t *testing.T) {
	onBothStores(t, func(t *testing.T, databaseURL string) {
		w := newWorld(t, databaseURL, nil).ready()
		for _, by := range ways() {
			t.Run(by.name, func(t *testing.T) {
				id := strings.ReplaceAll(by.name, " ", "-")
				as := func(operation, incarnation string, fields map[string]any) outcome {
					return w.make(by, call{operation, id, with(fields, "incarnation", incarnation), w.mc()})
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
						if got := w.get("/api/v1/controllers/"+id, w.reader()).body; !strings.Contains(got, `"health":"`+state+`"`) || !strings.Contains(got, `"incarnation":"`+step.incarnation+`"`) {
							t.Errorf("shown = %s, want %s %s", got, step.incarnation, state)
						}
						continue
					}
					fields := load()
					if step.operation == "RegisterMC" {
						fields = registration()
					}
					if got := as(step.operation, step.incarnation, fields); got != step.want {
						t.Errorf("%s of %q = %v, want %v", step.operation, step.incarnation, got, step.want)
					}
				}
				w.until("2 conflicts of "+id, func() bool {
					return strings.Contains(w.get("/api/v1/controllers/"+id, w.reader()).body, `"incarnation_conflicts":2`)
				})
			})
		}
		if got := w.get("/metrics", "").body; !strings.Contains(got, "\ngc_incarnation_conflicts_total 6\n") {
			t.Error("the metrics lack the 6 conflicts")
		}
	})
}

// TestADrainStaysUntilItIsUndone drains over HTTP and gRPC, and holds who may.
func TestADrainStaysUntilItIsUndone(t *testing.T) {
	onBothStores(t, func(t *testing.T, databaseURL string) {
		w := newWorld(t, databaseURL, nil).ready()
		const one = "/api/v1/controllers/mc"
		w.serving("mc", "beside-1", "beside-2")
		for token, want := range map[string]int{"": http.StatusUnauthorized, w.reader(): http.StatusForbidden, strings.TrimPrefix(*w.mc(), "Bearer "): http.StatusForbidden, w.admin(): http.StatusOK} {
			if got := w.request(http.MethodPost, one+"/drain", `{"reason":"kernel","deadline":"2031-02-03T04:05:06Z"}`, bearer(token)); got.status != want {
				t.Errorf("drain = %d %s, want %d", got.status, got.body, want)
			}
		}
		answer, err := w.invoke(ways()[0].service, call{"FastHeartbeat", "mc", load(), w.mc()})
		if intent := answer.(*pb.FastHeartbeatResponse).GetOperatorIntent(); err != nil || !intent.GetDraining() || intent.GetReason() != "kernel" || intent.GetDeadline() != 1927857906 {
			t.Errorf("heartbeat = %v, %v, want the operator's intent", answer, err)
		}
		if got := w.make(ways()[2], call{"RegisterMC", "mc", registration(), w.mc()}); got != (outcome{}) {
			t.Errorf("registering = %v", got)
		}
		if got := w.get(one, w.reader()).body; !strings.Contains(got, `"health":"draining"`) || !strings.Contains(got, `"by":"operator-1"`) {
			t.Errorf("shown = %s, want it draining", got)
		}
		if got := w.request(http.MethodDelete, one+"/drain?expected_generation=7", "", bearer(w.admin())); got.status != http.StatusConflict {
			t.Errorf("undrain of another generation = %d %s, want 409", got.status, got.body)
		}
		fleet := fleetpb.NewFleetServiceClient(w.conn)
		ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+w.admin())
		if got, err := fleet.Undrain(ctx, &fleetpb.UndrainRequest{ControllerId: "mc"}); err != nil || got.GetController().GetHealth() != fleetpb.Health_HEALTH_PENDING {
			t.Errorf("Undrain() = %v, %v, want it pending", got, err)
		}
		history, err := fleet.ListTransitions(ctx, &fleetpb.ListTransitionsRequest{ControllerId: "mc"})
		if err != nil || len(history.GetTransitions()) != 4 {
			t.Errorf("ListTransitions() = %v, %v, want new, healthy, draining and pending", history, err)
		}
		if got := w.get(one+"/transitions?page_size=1", w.reader()); got.status != http.StatusOK || !strings.Contains(got.body, `"from":null,"to":"pending"`) {
			t.Errorf("history over HTTP = %d %s, want the first change", got.status, got.body)
		}
	})
}

// TestDeregistration holds who may take a controller out of the fleet.
func TestDeregistration(t *testing.T) {
	onBothStores(t, func(t *testing.T, databaseURL string) {
		w := newWorld(t, databaseURL, func(c *Config) { c.SubjectIsController = true }).ready()
		mc := w.issuer.token(nil, map[string]any{"sub": "mc"})
		header := "Bearer " + mc
		register := func() {
			t.Helper()
			if got := w.make(ways()[0], call{"RegisterMC", "mc", with(registration(), "incarnation", "one"), &header}); got != (outcome{}) {
				t.Fatalf("RegisterMC() = %v", got)
			}
		}
		register()
		fleet := fleetpb.NewFleetServiceClient(w.conn)
		deregister := func(token, id, incarnation string) codes.Code {
			ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+token)
			_, err := fleet.Deregister(ctx, &fleetpb.DeregisterRequest{ControllerId: id, Incarnation: incarnation})
			return status.Code(err)
		}
		for _, tc := range []struct {
			name, token, id, incarnation string
			want                         codes.Code
		}{
			{"a reader", w.reader(), "mc", "one", codes.PermissionDenied},
			{"another controller", w.issuer.token(nil, map[string]any{"sub": "mc-2"}), "mc", "one", codes.PermissionDenied},
			{"itself, without saying which process it is", mc, "mc", "", codes.PermissionDenied},
			{"itself, as another process", mc, "mc", "two", codes.FailedPrecondition},
			{"itself", mc, "mc", "one", codes.OK},
			{"itself again", mc, "mc", "one", codes.NotFound},
			{"an operator, of nobody", w.admin(), "mc", "", codes.NotFound},
		} {
			if got := deregister(tc.token, tc.id, tc.incarnation); got != tc.want {
				t.Errorf("%s: Deregister() = %v, want %v", tc.name, got, tc.want)
			}
		}
		// A controller in the field registers without an incarnation. One that is made up shows nothing.
		other := w.issuer.token(nil, map[string]any{"sub": "mc-plain"})
		otherHeader := "Bearer " + other
		if got := w.make(ways()[0], call{"RegisterMC", "mc-plain", registration(), &otherHeader}); got != (outcome{}) {
			t.Fatalf("RegisterMC(mc-plain) = %v", got)
		}
		if got := deregister(other, "mc-plain", "made-up"); got != codes.PermissionDenied {
			t.Errorf("Deregister() of a controller without an incarnation, by a made-up one = %v, want PermissionDenied", got)
		}
		if got := w.request(http.MethodDelete, "/api/v1/controllers/mc-plain", "", bearer(other)); got.status != http.StatusForbidden {
			t.Errorf("the same over HTTP = %d %s, want 403", got.status, got.body)
		}
		if got := w.get("/api/v1/controllers/mc-plain", w.reader()); got.status != http.StatusOK {
			t.Errorf("the controller = %d %s, want it to be there still", got.status, got.body)
		}
		if got := deregister(w.admin(), "mc-plain", "made-up"); got != codes.OK {
			t.Errorf("an operator's Deregister() = %v, want OK", got)
		}
		register()
		if got := w.request(http.MethodDelete, "/api/v1/controllers/mc", "", bearer(mc)); got.status != http.StatusForbidden {
			t.Errorf("a controller over HTTP = %d %s, want 403", got.status, got.body)
		}
		if got := w.request(http.MethodDelete, "/api/v1/controllers/mc?reason=scrapped", "", bearer(w.admin())); got.status != http.StatusOK {
			t.Errorf("an operator over HTTP = %d %s, want 200", got.status, got.body)
		}
		if got := w.get("/api/v1/controllers/mc/transitions?after=1", w.reader()).body; !strings.Contains(got, `"reason":"scrapped"`) || !strings.Contains(got, `"cause":"retired"`) {
			t.Errorf("history = %s, want both departures", got)
		}
	})
}
