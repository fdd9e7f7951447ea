// Package devstack runs a whole installation in one process for development: an auth controller, a Global Controller and
// a small fleet of simulated meeting controllers.
package devstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/go-kit/log"
	"github.com/oklog/run"

	"darktower.example/global-controller/internal/daemon"
	"darktower.example/global-controller/internal/filelock"
	"darktower.example/global-controller/pkg/client"
	"darktower.example/global-controller/pkg/devauth"
)

// Where the stack listens by default, and where gcctl connects to by default.
const (
	DefaultGRPCAddress = "127.0.0.1:50051"
	DefaultHTTPAddress = "127.0.0.1:8081"
	DefaultACAddress   = "127.0.0.1:8082"
)

// otherAddressHint is the end of errors about addresses that another stack may use.
const otherAddressHint = "if another gcctl dev is running, set other addresses with --ac, --http and --grpc, and another folder with --data"

// Options configure [Run].
type Options struct {
	// HTTPAddress, GRPCAddress and ACAddress are HOST:PORT. Port 0 is a free port.
	HTTPAddress string
	GRPCAddress string
	ACAddress   string
	// DataDir is the folder of the database and the auth controller's key.
	DataDir string
	// Database is postgres://… or sqlite:PATH. If empty, it is an SQLite file in DataDir.
	Database string
	// LogLevel is the lowest level of the Global Controller's log: debug, info, warn or error.
	LogLevel string
	// Controllers is the size of the fleet, 1 to 1000.
	Controllers int
	// KillOne ends one controller without deregistration when all are healthy.
	KillOne bool

	Stdout, Stderr io.Writer
}

// Validate returns an error that names the flag and its allowed values.
func (o Options) Validate() error {
	if o.Controllers < 1 || o.Controllers > 1000 {
		return fmt.Errorf("--controllers is %d: allowed is 1 to 1000", o.Controllers)
	}

	switch o.LogLevel {
	case "debug", "info", "warn", "error":
	default:
		return fmt.Errorf("--log-level is %q: allowed is debug, info, warn or error", o.LogLevel)
	}

	host, _, err := net.SplitHostPort(o.ACAddress)
	if err != nil {
		return fmt.Errorf("--ac is %q: allowed is HOST:PORT", o.ACAddress)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("--ac is %q: allowed is a loopback address only, as its secrets are public", o.ACAddress)
	}
	return nil
}

// Run runs the stack until ctx ends.
func Run(ctx context.Context, o Options) error {
	out := &screen{w: o.Stdout}
	var cleanups cleanupStack
	defer cleanups.run()

	unlock, err := lockFolder(o.DataDir)
	if err != nil {
		return err
	}
	cleanups.add(unlock)

	ac, acListener, err := newAuthController(ctx, o)
	if err != nil {
		return fmt.Errorf("start the development auth controller: %w", err)
	}
	cleanups.add(func() { _ = acListener.Close() })
	acURL := "http://" + acListener.Addr().String()

	cfg := daemonConfig(o, acURL)
	server, err := daemon.New(cfg, newLogger(o.Stderr, cfg))
	if err != nil {
		return fmt.Errorf("start the Global Controller: %w; %s", err, otherAddressHint)
	}
	cleanups.add(server.Close)

	tokens, err := newTokenSource(acURL)
	if err != nil {
		return err
	}
	cleanups.add(tokens.Close)

	f := &fleet{
		address:   server.GRPCAddress(),
		tokens:    tokens,
		size:      o.Controllers,
		killOne:   o.KillOne,
		threshold: cfg.StalenessThreshold,
		out:       out,
		begin:     make(chan struct{}),
		healthy:   make(chan struct{}),
	}

	m := &monitor{
		address:      "http://" + server.HTTPAddress(),
		ac:           ac,
		size:         o.Controllers,
		out:          out,
		onReady:      func() { close(f.begin) },
		onAllHealthy: func() { close(f.healthy) },
	}

	// The actors stop in this order: the fleet stops before the server that it reports to.
	var group run.Group
	addActor(&group, ctx, waitForEnd)
	addActor(&group, context.Background(), f.run)
	addActor(&group, context.Background(), m.run)
	addActor(&group, context.Background(), server.Run)
	addHTTPServer(&group, ac, acListener)

	if err := printBanner(out, o, server, ac, acURL); err != nil {
		return err
	}
	err = group.Run()
	out.printLine("stopped")
	return err
}

// newAuthController returns the auth controller and the listener for its HTTP server.
func newAuthController(ctx context.Context, o Options) (*devauth.Server, net.Listener, error) {
	ac, err := devauth.New(filepath.Join(o.DataDir, "dev-auth-key.pem"), time.Now)
	if err != nil {
		return nil, nil, err
	}

	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", o.ACAddress)
	if err != nil {
		return nil, nil, fmt.Errorf("%w; %s", err, otherAddressHint)
	}
	return ac, listener, nil
}

func daemonConfig(o Options, acURL string) daemon.Config {
	cfg := daemon.DefaultConfig()
	cfg.BindAddress = o.HTTPAddress
	cfg.GRPCBindAddress = o.GRPCAddress
	cfg.DataDir = o.DataDir
	cfg.LogLevel = o.LogLevel
	cfg.JWKSURL = acURL + "/.well-known/jwks.json"
	cfg.GRPCReflection = true
	cfg.ShutdownTimeout = 5 * time.Second

	cfg.DatabaseURL = o.Database
	if cfg.DatabaseURL == "" {
		cfg.DatabaseURL = "sqlite:" + filepath.Join(o.DataDir, "global-controller.db")
	}
	return cfg
}

func newLogger(w io.Writer, cfg daemon.Config) log.Logger { return daemon.NewLogger(w, cfg) }

// newTokenSource returns the token source of the fleet.
func newTokenSource(acURL string) (*client.ClientCredentials, error) {
	mc := devauth.Clients()[0]
	return client.NewTokenSource(client.TokenConfig{
		URL:          acURL,
		ClientID:     mc.ID,
		ClientSecret: client.Secret(mc.Secret),
	})
}

// lockFolder excludes a second stack from a folder. Two stacks on one database would report each other's controllers.
func lockFolder(folder string) (unlock func(), err error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("create the data folder: %w", err)
	}

	unlock, err = filelock.TryLock(filepath.Join(folder, "dev.lock"))
	if errors.Is(err, filelock.ErrHeld) {
		return nil, fmt.Errorf(
			"another gcctl dev uses the folder %s: set another with --data, and other addresses with --ac, --http and --grpc", folder,
		)
	}
	if err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	return unlock, nil
}

// addActor adds an actor that stops when its context ends.
//
//nolint:revive // The group is first, as in the functions of oklog/run.
func addActor(group *run.Group, parent context.Context, execute func(context.Context) error) {
	ctx, cancel := context.WithCancel(parent)
	group.Add(func() error { return execute(ctx) }, func(error) { cancel() })
}

// addHTTPServer adds an actor that serves HTTP on a listener.
func addHTTPServer(group *run.Group, handler http.Handler, listener net.Listener) {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	group.Add(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}, func(error) { _ = server.Close() })
}

func waitForEnd(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// cleanupStack runs functions in the reverse order of their addition.
type cleanupStack []func()

func (s *cleanupStack) add(cleanup func()) { *s = append(*s, cleanup) }

func (s *cleanupStack) run() {
	for i := len(*s) - 1; i >= 0; i-- {
		(*s)[i]()
	}
}
