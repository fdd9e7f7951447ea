package daemon

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "darktower.example/global-controller/proto/darktower/v1"
)

var lostFleet = flag.Int("lost-fleet", 120, "how many controllers lose their table; those of 10,000 beat every 10 s")

// TestLimits_FleetLosesItsTable has a fleet of one subject whose table is emptied behave as controllers in the field do: a
// controller that learns that it is not registered registers once, and is silent for good if that fails.
func TestLimits_FleetLosesItsTable(t *testing.T) {
	onBothStores(t, func(t *testing.T, databaseURL string) {
		const bound = time.Minute
		interval := time.Second
		if *lostFleet >= 10_000 {
			interval = 10 * time.Second
		}
		w := newWorld(t, databaseURL, func(c *Config) { c.RateLimitPerMinute, c.LogLevel = 60, "error" }).ready()
		// A connection has room for 1,000 calls, and a controller has one of its own.
		mcs := make([]pb.GlobalControllerServiceClient, 1+*lostFleet/100)
		for i := range mcs {
			conn, err := grpc.NewClient(w.server.GRPCAddress(), grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatalf("connect: %v", err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			mcs[i] = pb.NewGlobalControllerServiceClient(conn)
		}
		authorized := metadata.AppendToOutgoingContext(t.Context(), "authorization", *w.mc())
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

		emptyTable(t, databaseURL)
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

func emptyTable(t *testing.T, databaseURL string) {
	t.Helper()
	driver, source := "postgres", databaseURL
	if path, isSQLite := strings.CutPrefix(databaseURL, "sqlite:"); isSQLite {
		driver, source = "sqlite", "file:"+path+"?_pragma=busy_timeout(5000)"
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(t.Context(), `DELETE FROM meeting_controllers`); err != nil {
		t.Fatalf("empty the table: %v", err)
	}
}
