package e2e

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"darktower.example/global-controller/internal/daemon"
	pb "darktower.example/global-controller/proto/darktower/v1"
)

var supersededCallers = flag.Int("superseded-callers", 20, "how many replaced processes call at the same time")

// TestLimits_SupersededCallers makes replaced processes call without a pause while other controllers register. Each call of
// them is counted, and charged.
func TestLimits_SupersededCallers(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, func(c *daemon.Config) { c.LogLevel = "error" }).waitReady()
		client := pb.NewGlobalControllerServiceClient(env.conn)
		authorized := metadata.AppendToOutgoingContext(t.Context(), "authorization", *env.controllerAuth())

		register := func(id, incarnation string) error {
			in := registerRequest(id)
			in.Incarnation = incarnation
			_, err := client.RegisterMC(authorized, in)
			return err
		}

		for n := range *supersededCallers {
			for _, incarnation := range []string{"old", "new"} {
				if err := register(fmt.Sprintf("mc-%d", n), incarnation); err != nil {
					t.Fatalf("register: %v", err)
				}
			}
		}

		ctx, stop := context.WithCancel(authorized)
		defer stop()
		var callers sync.WaitGroup
		var refused atomic.Int64
		for n := range *supersededCallers {
			in := heartbeatRequest(fmt.Sprintf("mc-%d", n))
			in.Incarnation = "old"
			callers.Go(func() {
				for ctx.Err() == nil {
					_, err := client.FastHeartbeat(ctx, in)
					if err == nil {
						t.Errorf("a heartbeat of a replaced process was acknowledged")
						return
					}
					if status.Code(err) == codes.FailedPrecondition {
						refused.Add(1)
					}
				}
			})
		}

		var took []time.Duration
		for n := range 100 {
			began := time.Now()
			if err := register(fmt.Sprintf("other-%d", n), ""); err != nil {
				t.Errorf("another controller's registration = %v", err)
			}
			took = append(took, time.Since(began))
		}

		stop()
		callers.Wait()

		slices.Sort(took)
		t.Logf("%d callers, %d calls refused; other controllers' registrations: p50 %v, p99 %v",
			*supersededCallers, refused.Load(), took[50], took[99])

		env.waitFor("the conflicts", func() bool { return env.countConflicts(*supersededCallers) >= int(refused.Load()) })
	})
}

// countConflicts returns the sum of the conflicts that the first controllers show.
func (env *environment) countConflicts(controllers int) (sum int) {
	env.t.Helper()
	for n := range controllers {
		var body struct {
			Conflicts int `json:"incarnation_conflicts"`
		}
		env.get(fmt.Sprintf("/api/v1/controllers/mc-%d", n), env.readerToken()).decode(env.t, &body)
		sum += body.Conflicts
	}
	return sum
}

// TestLimits_SupersededCallersAreCharged checks that a replaced process is rate limited as any other caller.
func TestLimits_SupersededCallersAreCharged(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, sqliteURL(t), func(c *daemon.Config) { c.RateLimitPerMinute = 3 }).waitReady()
	for _, incarnation := range []string{"old", "new"} {
		env.register("mc", with(registration(), "incarnation", incarnation))
	}

	var got []string
	for range 5 {
		heartbeat := call{"FastHeartbeat", "mc", with(fastHeartbeat(), "incarnation", "old"), env.controllerAuth()}
		got = append(got, env.send(viaGRPC, heartbeat).code.String())
	}
	want := "FailedPrecondition FailedPrecondition FailedPrecondition ResourceExhausted ResourceExhausted"
	if got := strings.Join(got, " "); got != want {
		t.Errorf("codes = %s, want %s", got, want)
	}
}
