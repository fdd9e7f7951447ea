package fleetsim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc/metadata"

	"darktower.example/global-controller/pkg/client"
	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// maxDeregistrations limits the concurrent calls that remove the fleet from a Global Controller.
const maxDeregistrations = 64

// secondProcessFirstLoad is the load at which the heartbeats of a second process start. It is higher than the first process ever reports.
const secondProcessFirstLoad = 1_000_000

// Fleet is all controllers of an environment.
type Fleet struct {
	// Controllers is written by Replace only. The progress output, which runs concurrently, reads it with At.
	Controllers []*meetingController

	mu          sync.Mutex
	env         *Environment
	connections []*client.Connection
	tokens      []*tokenSource
	tokenHTTP   *http.Client
}

// newFleet creates the controllers. None runs yet.
func newFleet(env *Environment) (f *Fleet, err error) {
	f = &Fleet{
		env: env,
		tokenHTTP: &http.Client{
			Transport: &http.Transport{MaxIdleConnsPerHost: 16},
			Timeout:   10 * time.Second,
		},
	}

	sharedTokens := make([]*tokenSource, env.opts.Connections)
	regions := env.opts.regionNames()
	for i := range env.opts.Controllers {
		n := i % env.opts.Connections
		if n == len(f.connections) {
			if _, err := f.Connect(env.fleetAddress()); err != nil {
				return f, err
			}
			if sharedTokens[n], err = f.addTokens(); err != nil {
				return f, err
			}
		}

		region := regions[i%len(regions)]
		mc := &meetingController{
			ID:         fmt.Sprintf("%s-%s-%d", env.idPrefix, region, i/len(regions)+1),
			Region:     region,
			env:        env,
			connection: f.connections[n],
			tokens:     sharedTokens[n],
		}

		if env.needs.OwnTokens {
			if mc.tokens, err = f.addTokens(); err != nil {
				return f, err
			}
		}
		f.Controllers = append(f.Controllers, mc)
	}
	return f, nil
}

func (f *Fleet) addTokens() (*tokenSource, error) {
	t, err := f.env.newControllerTokens(f.tokenHTTP)
	if err != nil {
		return nil, fmt.Errorf("tokens: %w", err)
	}
	f.tokens = append(f.tokens, t)
	return t, nil
}

// Connect opens one more connection, which is closed with the fleet.
func (f *Fleet) Connect(address string) (*client.Connection, error) {
	connection, err := client.NewConnection([]string{address}, f.env.tlsConfig())
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	f.connections = append(f.connections, connection)
	return connection, nil
}

// NewSecondProcess returns another controller with the same id on another connection. It is not part of the fleet yet.
func (f *Fleet) NewSecondProcess(of *meetingController, connection *client.Connection) *meetingController {
	return &meetingController{
		ID:         of.ID,
		Region:     of.Region,
		env:        of.env,
		connection: connection,
		tokens:     of.tokens,
		sentLoad:   secondProcessFirstLoad,
	}
}

// Start starts the controllers, spread evenly over a time.
func (f *Fleet) Start(ctx context.Context, mcs []*meetingController, over time.Duration) error {
	startedAt := time.Now()
	for i, mc := range mcs {
		due := startedAt.Add(over * time.Duration(i) / time.Duration(len(mcs)))
		if wait := time.Until(due); wait > 0 && !pause(ctx, wait) {
			return ctx.Err()
		}
		if err := mc.Start(); err != nil {
			return err
		}
	}
	return nil
}

// Crash ends the controllers at the same moment, as a crash does.
func (f *Fleet) Crash(mcs []*meetingController) error {
	return forEachController(mcs, len(mcs), func(mc *meetingController) error { return mc.Crash() })
}

// InRegion returns the controllers of a region.
func (f *Fleet) InRegion(region string) (found []*meetingController) {
	for _, mc := range f.Controllers {
		if mc.Region == region {
			found = append(found, mc)
		}
	}
	return found
}

// PickRandom returns a random share of the fleet, at least one controller.
func (f *Fleet) PickRandom(share float64, random *rand.Rand) (found []*meetingController) {
	n := max(1, int(share*float64(len(f.Controllers))))
	for _, i := range random.Perm(len(f.Controllers))[:n] {
		found = append(found, f.Controllers[i])
	}
	return found
}

// Replace puts another controller with the same id into the place of one.
func (f *Fleet) Replace(old, replacement *meetingController) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, mc := range f.Controllers {
		if mc == old {
			f.Controllers[i] = replacement
		}
	}
}

// Len returns the size of the fleet.
func (f *Fleet) Len() int { return len(f.Controllers) }

// At returns one controller. It may be called concurrently with Replace.
func (f *Fleet) At(i int) *meetingController {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.Controllers[i]
}

// deregisterAll removes the controllers from a Global Controller that continues to run.
func (f *Fleet) deregisterAll(ctx context.Context) error {
	fleet := pb.NewFleetServiceClient(f.env.readerConn)

	return forEachController(f.Controllers, maxDeregistrations, func(mc *meetingController) error {
		token, err := mc.tokens.Token(ctx)
		if err == nil && mc.Incarnation() != "" {
			ctx := metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
			_, err = fleet.Deregister(ctx, &pb.DeregisterRequest{
				ControllerId: mc.ID,
				Incarnation:  mc.Incarnation(),
				Reason:       "the simulation is over",
			})
		}
		if err != nil {
			return fmt.Errorf("deregister %s: %w", mc.ID, err)
		}
		return nil
	})
}

// Close ends all controllers and closes their connections.
func (f *Fleet) Close() error {
	errs := []error{f.Crash(f.Controllers)}
	for _, connection := range f.connections {
		errs = append(errs, connection.Close())
	}
	for _, t := range f.tokens {
		t.Close()
	}
	f.tokenHTTP.CloseIdleConnections()
	return errors.Join(errs...)
}

// forEachController calls work for each controller, with a limit of concurrent calls, and returns the first error.
func forEachController(mcs []*meetingController, concurrency int, work func(*meetingController) error) error {
	var (
		running  sync.WaitGroup
		once     sync.Once
		firstErr error
		slots    = make(chan struct{}, max(1, concurrency))
	)

	for _, mc := range mcs {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			if err := work(mc); err != nil {
				once.Do(func() { firstErr = err })
			}
		})
	}

	running.Wait()
	return firstErr
}
