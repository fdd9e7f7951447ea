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

var supersededCallers = flag.Int("superseded-callers", 20, "how many processes that were replaced call at once")

// TestLimits_SupersededCallers has processes that were replaced call without a pause, while other controllers register.
// Each of their calls is counted, and charged.
func TestLimits_SupersededCallers(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, func(c *daemon.Config) { c.LogLevel = "error" }).waitReady()
		mcs := pb.NewGlobalControllerServiceClient(env.conn)
		authorized := metadata.AppendToOutgoingContext(t.Context(), "authorization", *env.controllerAuth())

		register := func(id, incarnation string) error {
			_, err := mcs.RegisterMC(authorized, &pb.RegisterMCRequest{
				Id: id, Region: "eu", GrpcEndpoint: "http://mc.example", MaxMeetings: 1, MaxParticipants: 1, Incarnation: incarnation,
			})
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
			callers.Go(func() {
				for ctx.Err() == nil {
					_, err := mcs.FastHeartbeat(ctx, &pb.FastHeartbeatRequest{
						ControllerId: fmt.Sprintf("mc-%d", n), Incarnation: "old", Capacity: &pb.ControllerCapacity{}, Health: pb.HealthStatus_HEALTH_STATUS_HEALTHY,
					})
					if err == nil {
						t.Errorf("a heartbeat of a process that was replaced was acknowledged")
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
				t.Errorf("registration beside them = %v", err)
			}
			took = append(took, time.Since(began))
		}

		stop()
		callers.Wait()
		slices.Sort(took)
		t.Logf("%d callers, %d calls refused; registrations beside them: p50 %v, p99 %v", *supersededCallers, refused.Load(), took[50], took[99])

		env.waitFor("the conflicts", func() bool {
			sum := 0

			for n := range *supersededCallers {
				var shown struct {
					Conflicts int `json:"incarnation_conflicts"`
				}
				env.get(fmt.Sprintf("/api/v1/controllers/mc-%d", n), env.readerToken()).decode(t, &shown)
				sum += shown.Conflicts
			}

			return sum >= int(refused.Load())
		})
	})
}

// TestLimits_SupersededCallersAreCharged: past the allowance of its subject such a process is refused as any caller is.
func TestLimits_SupersededCallersAreCharged(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, sqliteURL(t), func(c *daemon.Config) { c.RateLimitPerMinute = 3 }).waitReady()
	for _, incarnation := range []string{"old", "new"} {
		if got := env.send(viaGRPC, call{"RegisterMC", "mc", with(registration(), "incarnation", incarnation), env.controllerAuth()}); got != (outcome{}) {
			t.Fatalf("register = %v", got)
		}
	}
	var answers []string
	for range 5 {
		answers = append(answers, env.send(viaGRPC, call{"FastHeartbeat", "mc", with(fastHeartbeat(), "incarnation", "old"), env.controllerAuth()}).code.String())
	}
	want := "FailedPrecondition FailedPrecondition FailedPrecondition ResourceExhausted ResourceExhausted"
	if got := strings.Join(answers, " "); got != want {
		t.Errorf("answers = %s, want %s", got, want)
	}
}
