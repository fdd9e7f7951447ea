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

// atOnce is how many controllers are ended, or taken out of the fleet, at the same time.
const atOnce = 64

// Fleet is all the controllers of a world.
type Fleet struct {
	// MCs changes by Replace only; the view, which runs beside the scenario, reads it with At.
	MCs         []*MC
	mu          sync.Mutex
	world       *World
	connections []*client.Connection
	tokens      []*tokens
	calls       *http.Client
}

// newFleet makes the controllers; none runs yet.
func newFleet(w *World) (f *Fleet, err error) {
	f = &Fleet{world: w, calls: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: 10 * time.Second}}
	shared := make([]*tokens, w.opts.Connections)
	regions := w.opts.regionNames()
	for i := range w.opts.MCs {
		n := i % w.opts.Connections
		if n == len(f.connections) {
			if _, err := f.Connect(w.fleetAddress()); err != nil {
				return f, err
			}
			if shared[n], err = f.newTokens(); err != nil {
				return f, err
			}
		}
		region := regions[i%len(regions)]
		mc := &MC{ID: fmt.Sprintf("%s-%s-%d", w.prefix, region, i/len(regions)+1), Region: region, world: w, connection: f.connections[n], tokens: shared[n]}
		if w.needs.Tokens {
			if mc.tokens, err = f.newTokens(); err != nil {
				return f, err
			}
		}
		f.MCs = append(f.MCs, mc)
	}
	return f, nil
}

func (f *Fleet) newTokens() (*tokens, error) {
	t, err := f.world.mcTokens(f.calls)
	if err != nil {
		return nil, fmt.Errorf("tokens: %w", err)
	}
	f.tokens = append(f.tokens, t)
	return t, nil
}

// Connect makes one more connection, which is closed with the fleet.
func (f *Fleet) Connect(address string) (*client.Connection, error) {
	connection, err := client.NewConnection([]string{address}, f.world.tls())
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	f.connections = append(f.connections, connection)
	return connection, nil
}

// Twin is another controller by the same id, on a connection of its own.
func (f *Fleet) Twin(of *MC, connection *client.Connection) *MC {
	// It begins far above, so that nobody takes its load for that of the other one.
	return &MC{ID: of.ID, Region: of.Region, world: of.world, connection: connection, tokens: of.tokens, sent: 1_000_000}
}

// Begin starts the controllers evenly over a time.
func (f *Fleet) Begin(ctx context.Context, mcs []*MC, over time.Duration) error {
	began := time.Now()
	for i, mc := range mcs {
		due := began.Add(over * time.Duration(i) / time.Duration(len(mcs)))
		if wait := time.Until(due); wait > 0 && !pause(ctx, wait) {
			return ctx.Err()
		}
		if err := mc.Begin(); err != nil {
			return err
		}
	}
	return nil
}

// Abandon ends the controllers at once, as a crash does.
func (f *Fleet) Abandon(mcs []*MC) error {
	return eachOf(mcs, len(mcs), func(mc *MC) error { return mc.Abandon() })
}

// In returns the controllers of a region.
func (f *Fleet) In(region string) (found []*MC) {
	for _, mc := range f.MCs {
		if mc.Region == region {
			found = append(found, mc)
		}
	}
	return found
}

// Some returns a random part of the fleet, at least one.
func (f *Fleet) Some(share float64, random *rand.Rand) (found []*MC) {
	n := max(1, int(share*float64(len(f.MCs))))
	for _, i := range random.Perm(len(f.MCs))[:n] {
		found = append(found, f.MCs[i])
	}
	return found
}

// Replace puts another controller into the place of one that goes by the same id.
func (f *Fleet) Replace(old, by *MC) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, mc := range f.MCs {
		if mc == old {
			f.MCs[i] = by
		}
	}
}

// Len is how many controllers there are.
func (f *Fleet) Len() int { return len(f.MCs) }

// At is one of them.
func (f *Fleet) At(i int) *MC {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.MCs[i]
}

// leave takes the controllers out of the fleet of a Global Controller that is not ours.
func (f *Fleet) leave(ctx context.Context) error {
	fleet := pb.NewFleetServiceClient(f.world.conn)
	return eachOf(f.MCs, atOnce, func(mc *MC) error {
		token, err := mc.tokens.Token(ctx)
		if err == nil && mc.Incarnation() != "" {
			ctx := metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
			_, err = fleet.Deregister(ctx, &pb.DeregisterRequest{ControllerId: mc.ID, Incarnation: mc.Incarnation(), Reason: "the simulation is over"})
		}
		if err != nil {
			return fmt.Errorf("take %s out of the fleet: %w", mc.ID, err)
		}
		return nil
	})
}

// Close ends whatever runs.
func (f *Fleet) Close() error {
	errs := []error{f.Abandon(f.MCs)}
	for _, connection := range f.connections {
		errs = append(errs, connection.Close())
	}
	for _, t := range f.tokens {
		t.Close()
	}
	f.calls.CloseIdleConnections()
	return errors.Join(errs...)
}

// eachOf works on the controllers, so many at the same time, and returns the first error.
func eachOf(mcs []*MC, most int, work func(*MC) error) error {
	var (
		all   sync.WaitGroup
		once  sync.Once
		first error
		slots = make(chan struct{}, max(1, most))
	)
	for _, mc := range mcs {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			if err := work(mc); err != nil {
				once.Do(func() { first = err })
			}
		})
	}
	all.Wait()
	return first
}
