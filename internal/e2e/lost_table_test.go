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

var lostFleet = flag.Int("lost-fleet", 120, "how many controllers lose their table; 10,000 or more send a heartbeat every 10 s")

// recoveryLimit is the time within which a fleet whose table was emptied must be registered again.
const recoveryLimit = time.Minute

// deployedFleet is a fleet of controllers that behave as deployed ones do.
type deployedFleet struct {
	t       *testing.T
	ctx     context.Context
	clients []pb.GlobalControllerServiceClient
}

// newDeployedFleet returns a fleet with a connection for each 100 controllers. Each deployed controller has its own, and a
// connection has room for 1,000 calls.
func (env *environment) newDeployedFleet(size int) *deployedFleet {
	f := &deployedFleet{
		t:       env.t,
		ctx:     metadata.AppendToOutgoingContext(env.t.Context(), "authorization", *env.controllerAuth()),
		clients: make([]pb.GlobalControllerServiceClient, 1+size/100),
	}
	for i := range f.clients {
		f.clients[i] = pb.NewGlobalControllerServiceClient(env.newConn())
	}
	return f
}

// call makes a call of a controller, with the timeout of deployed controllers.
func (f *deployedFleet) call(n int, call func(context.Context, pb.GlobalControllerServiceClient) error) error {
	ctx, cancel := context.WithTimeout(f.ctx, 10*time.Second)
	defer cancel()
	return call(ctx, f.clients[n%len(f.clients)])
}

func (f *deployedFleet) register(n int) error {
	return f.call(n, func(ctx context.Context, client pb.GlobalControllerServiceClient) error {
		_, err := client.RegisterMC(ctx, registerRequest(fmt.Sprintf("mc-%d", n)))
		return err
	})
}

func (f *deployedFleet) heartbeat(n int) error {
	return f.call(n, func(ctx context.Context, client pb.GlobalControllerServiceClient) error {
		_, err := client.FastHeartbeat(ctx, heartbeatRequest(fmt.Sprintf("mc-%d", n)))
		return err
	})
}

// registerAgain sends heartbeats until one returns NOT_FOUND, and registers then. It fails the test if that does not happen in
// time, or if the one registration fails: a deployed controller then sends nothing more.
func (f *deployedFleet) registerAgain(n int, interval time.Duration) (isRegistered bool) {
	for began := time.Now(); time.Since(began) < recoveryLimit+interval; time.Sleep(interval) {
		if status.Code(f.heartbeat(n)) != codes.NotFound {
			continue
		}
		if err := f.register(n); err != nil {
			f.t.Errorf("mc-%d got NOT_FOUND and could not register: %v", n, err)
			return false
		}
		return true
	}
	f.t.Errorf("mc-%d did not get NOT_FOUND", n)
	return false
}

// TestLimits_FleetLosesItsTable empties the table of a fleet of one subject, whose controllers behave as deployed ones do: a
// controller that gets NOT_FOUND registers once.
func TestLimits_FleetLosesItsTable(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		interval := time.Second
		if *lostFleet >= 10_000 {
			interval = 10 * time.Second
		}

		env := newEnvironment(t, databaseURL, func(c *daemon.Config) { c.RateLimitPerMinute, c.LogLevel = 60, "error" }).waitReady()
		fleet := env.newDeployedFleet(*lostFleet)

		began := time.Now()
		var controllers sync.WaitGroup
		slots := make(chan struct{}, 20)
		for n := range *lostFleet {
			slots <- struct{}{}
			controllers.Go(func() {
				defer func() { <-slots }()
				if err := fleet.register(n); err != nil {
					t.Errorf("first registration of mc-%d = %v", n, err)
				}
			})
		}
		controllers.Wait()
		t.Logf("%d first registrations took %v", *lostFleet, time.Since(began))

		execute(t, databaseURL, `DELETE FROM meeting_controllers`)
		began = time.Now()

		var registered atomic.Int64
		for n := range *lostFleet {
			controllers.Go(func() {
				// Half of the fleet starts at the same time, the other half is spread over the interval.
				if n%2 == 0 {
					time.Sleep(interval * time.Duration(n) / time.Duration(*lostFleet))
				}
				if fleet.registerAgain(n, interval) {
					registered.Add(1)
				}
			})
		}
		controllers.Wait()

		took := time.Since(began)
		t.Logf("%d controllers were registered again after %v", registered.Load(), took)
		if took > recoveryLimit {
			t.Errorf("the fleet was registered again after %v, want at most %v", took, recoveryLimit)
		}
	})
}
