package e2e

import (
	"context"
	"flag"
	"fmt"
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

var lostFleet = flag.Int("lost-fleet", 120, "how many controllers lose their table; those of 10,000 beat every 10 s")

// TestLimits_FleetLosesItsTable has a fleet of one subject whose table is emptied behave as controllers in the field do: a
// controller that learns that it is not registered registers once, and is silent for good if that fails.
func TestLimits_FleetLosesItsTable(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		const bound = time.Minute
		interval := time.Second
		if *lostFleet >= 10_000 {
			interval = 10 * time.Second
		}

		env := newEnvironment(t, databaseURL, func(c *daemon.Config) { c.RateLimitPerMinute, c.LogLevel = 60, "error" }).waitReady()
		// A connection has room for 1,000 calls, and a controller has one of its own.
		mcs := make([]pb.GlobalControllerServiceClient, 1+*lostFleet/100)
		for i := range mcs {
			conn := env.newConn()
			mcs[i] = pb.NewGlobalControllerServiceClient(conn)
		}
		authorized := metadata.AppendToOutgoingContext(t.Context(), "authorization", *env.controllerAuth())

		register := func(n int) error {
			ctx, cancel := context.WithTimeout(authorized, 10*time.Second)
			defer cancel()
			_, err := mcs[n%len(mcs)].RegisterMC(ctx, &pb.RegisterMCRequest{
				Id: fmt.Sprintf("mc-%d", n), Region: "eu", GrpcEndpoint: "http://mc.example", MaxMeetings: 1, MaxParticipants: 1,
			})
			return err
		}

		began := time.Now()
		var all sync.WaitGroup
		slots := make(chan struct{}, 20)

		for n := range *lostFleet {
			slots <- struct{}{}

			all.Go(func() {
				defer func() { <-slots }()
				if err := register(n); err != nil {
					t.Errorf("first registration of mc-%d = %v", n, err)
				}
			})
		}

		all.Wait()
		t.Logf("%d first registrations took %v", *lostFleet, time.Since(began))

		execute(t, databaseURL, `DELETE FROM meeting_controllers`)
		began = time.Now()
		var back atomic.Int64

		for n := range *lostFleet {
			id := fmt.Sprintf("mc-%d", n)

			all.Go(func() {
				// Half of the fleet comes at the same time, half of it evenly.
				if n%2 == 0 {
					time.Sleep(interval * time.Duration(n) / time.Duration(*lostFleet))
				}

				for time.Since(began) < bound+interval {
					ctx, cancel := context.WithTimeout(authorized, 10*time.Second)
					_, err := mcs[n%len(mcs)].FastHeartbeat(ctx, &pb.FastHeartbeatRequest{
						ControllerId: id, Capacity: &pb.ControllerCapacity{}, Health: pb.HealthStatus_HEALTH_STATUS_HEALTHY,
					})
					cancel()

					if status.Code(err) == codes.NotFound {
						if err := register(n); err != nil {
							t.Errorf("%s was told to register and could not: %v", id, err)
							return
						}
						back.Add(1)
						return
					}

					time.Sleep(interval)
				}

				t.Errorf("%s was not told to register", id)
			})
		}

		all.Wait()
		took := time.Since(began)
		t.Logf("%d controllers were registered again after %v", back.Load(), took)
		if took > bound {
			t.Errorf("the fleet was whole again after %v, want at most %v", took, bound)
		}
	})
}
