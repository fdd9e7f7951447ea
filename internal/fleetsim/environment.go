package fleetsim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// maxFleetMessage is the largest response of the Global Controller that the history reads: a page of 1,000 controllers
// exceeds the default of gRPC, 4 MiB.
const maxFleetMessage = 64 << 20

// Environment is what a scenario runs in: a Global Controller with its store and auth controller, a fleet, and a follower
// of the history. Its methods are for the scenario's goroutine.
type Environment struct {
	Timing Timing
	// GlobalController, AuthController and Store are nil if the Global Controller is not the simulator's.
	GlobalController *globalController
	AuthController   *authController
	Store            store
	// Network is between the fleet and the Global Controller; nil by default.
	Network *Proxy
	Fleet   *Fleet
	Series  *Series
	History *History
	Random  *rand.Rand

	opts        Options
	needs       Needs
	scenario    string
	idPrefix    string // of the controllers
	folder      string
	readerConn  *grpc.ClientConn // of the history's follower
	readerHTTP  *http.Client     // of the history's follower, for tokens
	interrupted <-chan struct{}
	startedAt   time.Time
	gcStartedAt time.Time
	cleanups    []func() error // called in reverse order
	checks      []Check
	notes       []string

	mu           sync.Mutex
	phase        string
	phaseStarted time.Time
	phases       chan string // for the progress output
}

// newEnvironment starts everything except the fleet. The caller closes the environment, also after an error.
func newEnvironment(ctx context.Context, opts Options, s Scenario) (*Environment, error) {
	e := &Environment{
		Timing:      opts.Timing,
		Series:      NewSeries(),
		Random:      rand.New(rand.NewPCG(opts.Seed, 0)), //nolint:gosec // Repeatable, and no secret.
		opts:        opts,
		needs:       s.Needs,
		scenario:    s.Name,
		idPrefix:    fmt.Sprintf("sim-%x", time.Now().UnixMilli()),
		readerHTTP:  &http.Client{Transport: &http.Transport{}, Timeout: readTimeout},
		interrupted: ctx.Done(),
		startedAt:   time.Now(),
		phases:      make(chan string, 64),
	}

	if opts.Existing == nil {
		if err := e.startGlobalController(ctx); err != nil {
			return e, err
		}
	}

	if s.Needs.NetworkProxy {
		network, err := NewProxy(e.globalControllerAddress())
		if err != nil {
			return e, err
		}
		e.Network = network
		e.addCleanup(network.Close)
	}
	if err := e.startHistory(ctx); err != nil {
		return e, err
	}

	fleet, err := newFleet(e)
	e.Fleet = fleet
	e.addCleanup(fleet.Close)
	return e, err
}

// startGlobalController starts a Global Controller with its own store and auth controller.
func (e *Environment) startGlobalController(ctx context.Context) (err error) {
	if e.folder, err = os.MkdirTemp("", "gcctl-simulate"); err != nil {
		return fmt.Errorf("create a folder: %w", err)
	}
	e.addCleanup(func() error { return os.RemoveAll(e.folder) })

	if e.AuthController, err = newAuthController(); err != nil {
		return err
	}
	e.addCleanup(e.AuthController.Close)

	if e.Store, err = newStore(e.opts, e.folder); err != nil {
		return err
	}
	e.addCleanup(e.Store.Close)

	e.GlobalController, err = newGlobalController(e.opts.GlobalController, globalControllerSettings{
		databaseURL: e.Store.URL(),
		jwksURL:     e.AuthController.URL + "/.well-known/jwks.json",
		folder:      e.folder,
		timing:      e.Timing,
	})
	if err != nil {
		return err
	}
	e.addCleanup(e.GlobalController.Kill)
	err = e.GlobalController.Start(ctx)
	e.gcStartedAt = time.Now()
	return err
}

// startHistory starts to follow the history.
func (e *Environment) startHistory(ctx context.Context) (err error) {
	transport := insecure.NewCredentials()
	if config := e.tlsConfig(); config != nil {
		transport = credentials.NewTLS(config)
	}
	e.readerConn, err = grpc.NewClient(e.globalControllerAddress(),
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxFleetMessage)))
	if err != nil {
		return fmt.Errorf("connect to %s: %w", e.globalControllerAddress(), err)
	}
	e.addCleanup(e.readerConn.Close)
	e.addCleanup(func() error { e.readerHTTP.CloseIdleConnections(); return nil })

	tokens, err := e.newReaderTokens()
	if err != nil {
		return fmt.Errorf("tokens: %w", err)
	}
	e.History = newHistory(pb.NewFleetServiceClient(e.readerConn), tokens, e.idPrefix)
	if err := e.History.SkipExisting(ctx); err != nil {
		return err
	}

	followCtx, stop := context.WithCancel(context.Background())
	var following sync.WaitGroup
	following.Go(func() { e.History.follow(followCtx) })
	e.addCleanup(func() error { stop(); following.Wait(); return nil })
	return nil
}

func (e *Environment) addCleanup(cleanup func() error) { e.cleanups = append(e.cleanups, cleanup) }

// Close stops and removes everything that the environment has started.
func (e *Environment) Close() error {
	var errs []error
	if e.opts.Existing != nil && e.Fleet != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		errs = append(errs, e.Fleet.Crash(e.Fleet.Controllers), e.Fleet.deregisterAll(ctx))
		cancel()
	}
	for i := len(e.cleanups) - 1; i >= 0; i-- {
		errs = append(errs, e.cleanups[i]())
	}
	return errors.Join(errs...)
}

// globalControllerAddress returns the gRPC address of the Global Controller.
func (e *Environment) globalControllerAddress() string {
	if e.opts.Existing != nil {
		return e.opts.Existing.Address
	}
	return e.GlobalController.GRPC
}

// fleetAddress returns the address that the fleet calls, which may be a proxy's.
func (e *Environment) fleetAddress() string {
	if e.Network != nil {
		return e.Network.Address()
	}
	return e.globalControllerAddress()
}

// tlsConfig returns nil for plaintext.
func (e *Environment) tlsConfig() *tls.Config {
	if e.opts.Existing != nil {
		return e.opts.Existing.TLS
	}
	return nil
}

// SetPhase records and shows what the scenario does now.
func (e *Environment) SetPhase(format string, values ...any) {
	text := fmt.Sprintf(format, values...)
	e.mu.Lock()
	e.phase = text
	e.phaseStarted = time.Now()
	e.mu.Unlock()

	select {
	case e.phases <- text:
	default: // The progress output is behind. It only informs, so the scenario does not wait for it.
	}
}

// AddNote adds a remark to the verdict.
func (e *Environment) AddNote(format string, values ...any) {
	e.notes = append(e.notes, fmt.Sprintf(format, values...))
}

// RecordCheck adds a check to the verdict. After an interrupt it adds nothing, as the scenario did not wait long enough.
func (e *Environment) RecordCheck(name, expected, observed string, passed bool) {
	select {
	case <-e.interrupted:
		return
	default:
	}
	e.checks = append(e.checks, Check{Name: name, Expected: expected, Observed: observed, Passed: passed})
}

// Wait waits for d, or until ctx ends, whose error it then returns.
func (e *Environment) Wait(ctx context.Context, d time.Duration) error {
	pause(ctx, d)
	return ctx.Err()
}

// WaitUntil waits until isMet returns true, and reports whether that happened within the timeout.
func (e *Environment) WaitUntil(ctx context.Context, timeout time.Duration, isMet func() bool) bool {
	for deadline := time.Now().Add(timeout); ; {
		if isMet() {
			return true
		}
		if time.Now().After(deadline) || !pause(ctx, 20*time.Millisecond) {
			return false
		}
	}
}

// describeTarget names the store, or the Global Controller that is not the simulator's.
func (e *Environment) describeTarget() string {
	if existing := e.opts.Existing; existing != nil {
		return "the Global Controller at " + existing.Address
	}
	return strings.NewReplacer("sqlite", "SQLite", "postgres", "PostgreSQL").Replace(e.opts.Store)
}
