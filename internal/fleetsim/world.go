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

	"darktower.example/global-controller/pkg/client"
	"darktower.example/global-controller/pkg/devauth"
	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// World is what a scenario is played in: a Global Controller with its store and auth controller, a fleet, and somebody
// who watches. Its methods are for the scenario's goroutine.
type World struct {
	Timing  Timing
	GC      *GC    // nil when it is not ours
	AC      *AC    // likewise
	Store   store  // likewise
	Network *Proxy // between fleet and Global Controller, nil unless the scenario needs it
	Fleet   *Fleet
	Series  *Series
	History *History
	Random  *rand.Rand

	opts     Options
	needs    Needs
	scenario string
	prefix   string // of the controllers' ids
	folder   string
	conn     *grpc.ClientConn // for the one who watches
	calls    *http.Client     // likewise
	ended    <-chan struct{}  // closed by an interrupt
	began    time.Time
	gcBegan  time.Time
	closers  []func() error // called in reverse
	promises []Promise
	notes    []string

	mu      sync.Mutex
	phase   string
	phaseAt time.Time
	news    chan string // phases, for those who show them
}

// newWorld starts everything but the fleet. The caller closes it, also when there is an error.
func newWorld(ctx context.Context, opts Options, s Scenario) (*World, error) {
	w := &World{
		Timing: opts.Timing, Series: NewSeries(), Random: rand.New(rand.NewPCG(opts.Seed, 0)), //nolint:gosec // Repeatable, and no secret.
		opts: opts, needs: s.Needs, scenario: s.Name, began: time.Now(), news: make(chan string, 64), calls: &http.Client{Transport: &http.Transport{}, Timeout: readTimeout},
		prefix: fmt.Sprintf("sim-%x", time.Now().UnixMilli()), ended: ctx.Done(),
	}
	if opts.Existing == nil {
		if err := w.startGC(ctx); err != nil {
			return w, err
		}
	}
	if s.Needs.Network {
		network, err := NewProxy(w.address())
		if err != nil {
			return w, err
		}
		w.Network = network
		w.closers = append(w.closers, network.Close)
	}
	if err := w.watch(ctx); err != nil {
		return w, err
	}
	fleet, err := newFleet(w)
	w.Fleet = fleet
	w.closers = append(w.closers, fleet.Close)
	return w, err
}

// startGC starts a Global Controller of our own and what it needs.
func (w *World) startGC(ctx context.Context) (err error) {
	if w.folder, err = os.MkdirTemp("", "gcctl-simulate"); err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	w.closers = append(w.closers, func() error { return os.RemoveAll(w.folder) })
	if w.AC, err = newAC(); err != nil {
		return err
	}
	w.closers = append(w.closers, w.AC.Close)
	if w.opts.Store == "postgres" {
		w.Store, err = asStore(newPostgresStore(w.opts.Database))
	} else {
		w.Store, err = asStore(newSQLiteStore(w.folder))
	}
	if err != nil {
		return err
	}
	w.closers = append(w.closers, w.Store.Close)
	w.GC, err = newGC(w.opts.GC, gcSettings{database: w.Store.URL(), keys: w.AC.URL + "/.well-known/jwks.json", folder: w.folder, timing: w.Timing})
	if err != nil {
		return err
	}
	w.closers = append(w.closers, w.GC.Kill)
	err = w.GC.Start(ctx)
	w.gcBegan = time.Now()
	return err
}

// asStore keeps a nil pointer from becoming a store that is not nil.
func asStore[S store](s S, err error) (store, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// watch begins to follow the history.
func (w *World) watch(ctx context.Context) (err error) {
	carrier := insecure.NewCredentials()
	if config := w.tls(); config != nil {
		carrier = credentials.NewTLS(config)
	}
	if w.conn, err = grpc.NewClient(w.address(), grpc.WithTransportCredentials(carrier), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20))); err != nil {
		return fmt.Errorf("connect to %s: %w", w.address(), err)
	}
	w.closers = append(w.closers, w.conn.Close, func() error { w.calls.CloseIdleConnections(); return nil })
	tokens, err := w.readerTokens()
	if err != nil {
		return fmt.Errorf("tokens: %w", err)
	}
	w.History = newHistory(pb.NewFleetServiceClient(w.conn), tokens, w.prefix)
	if err := w.History.Begin(ctx); err != nil {
		return err
	}
	following, stop := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { w.History.follow(following) })
	w.closers = append(w.closers, func() error { stop(); done.Wait(); return nil })
	return nil
}

// Close ends and removes everything.
func (w *World) Close() error {
	var errs []error
	if w.opts.Existing != nil && w.Fleet != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		errs = append(errs, w.Fleet.Abandon(w.Fleet.MCs), w.Fleet.leave(ctx))
		cancel()
	}
	for i := len(w.closers) - 1; i >= 0; i-- {
		errs = append(errs, w.closers[i]())
	}
	return errors.Join(errs...)
}

// address is the Global Controller's, fleetAddress the one that the fleet calls.
func (w *World) address() string {
	if w.opts.Existing != nil {
		return w.opts.Existing.Address
	}
	return w.GC.GRPC
}

func (w *World) fleetAddress() string {
	if w.Network != nil {
		return w.Network.Address()
	}
	return w.address()
}

func (w *World) tls() *tls.Config {
	if w.opts.Existing != nil {
		return w.opts.Existing.TLS
	}
	return nil
}

func (w *World) mcTokens(calls *http.Client) (*tokens, error) {
	e := w.opts.Existing
	switch {
	case e == nil:
		return newTokens(w.AC.URL, devauth.Clients()[0], calls)
	case e.AC == "":
		return &tokens{TokenSource: client.StaticToken(string(e.MCToken))}, nil
	}
	return newTokens(e.AC, e.MC, calls)
}

func (w *World) readerTokens() (client.TokenSource, error) {
	e := w.opts.Existing
	switch {
	case e == nil:
		return readerOf{w.AC}, nil
	case e.AC == "":
		return client.StaticToken(string(e.ReadToken)), nil
	}
	source, err := newTokens(e.AC, e.Reader, w.calls)
	if err != nil {
		return nil, err
	}
	w.closers = append(w.closers, func() error { source.Close(); return nil })
	return source, nil
}

// Phase says what happens now.
func (w *World) Phase(format string, values ...any) {
	text := fmt.Sprintf(format, values...)
	w.mu.Lock()
	w.phase, w.phaseAt = text, time.Now()
	w.mu.Unlock()
	select {
	case w.news <- text:
	default: // Nobody looks; the verdict counts.
	}
}

// Note adds a remark to the verdict.
func (w *World) Note(format string, values ...any) {
	w.notes = append(w.notes, fmt.Sprintf(format, values...))
}

// Promise records what was promised and seen. What is seen after an interrupt cut the waiting short is not recorded.
func (w *World) Promise(promise, promised, observed string, kept bool) {
	select {
	case <-w.ended:
		return
	default:
	}
	w.promises = append(w.promises, Promise{promise, promised, observed, kept})
}

// Wait lets time pass.
func (w *World) Wait(ctx context.Context, d time.Duration) error {
	pause(ctx, d)
	return ctx.Err()
}

// Until waits until something is so, and tells whether it became so in time.
func (w *World) Until(ctx context.Context, d time.Duration, so func() bool) bool {
	for deadline := time.Now().Add(d); ; {
		if so() {
			return true
		}
		if time.Now().After(deadline) || !pause(ctx, 20*time.Millisecond) {
			return false
		}
	}
}

// where says in words what the scenario was played on.
func (w *World) where() string {
	if e := w.opts.Existing; e != nil {
		return "the Global Controller at " + e.Address
	}
	return strings.NewReplacer("sqlite", "SQLite", "postgres", "PostgreSQL").Replace(w.opts.Store)
}
