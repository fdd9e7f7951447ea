package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/go-kit/log"
	"github.com/oklog/run"

	"darktower.example/global-controller/cmd/internal/daemon"
	"darktower.example/global-controller/cmd/internal/operate"
	"darktower.example/global-controller/internal/filelock"
	"darktower.example/global-controller/pkg/client"
	"darktower.example/global-controller/pkg/devauth"
)

// devOptions are the flags of gcctl dev.
type devOptions struct {
	http, grpc, ac, data, database, logLevel string
	controllers                              int
	killOne                                  bool
}

func devCommand(stdout, stderr io.Writer) flagCommand {
	var o devOptions
	flags := flag.NewFlagSet("gcctl dev", flag.ContinueOnError)
	flags.StringVar(&o.http, "http", operate.DevHTTPAddress, "where the Global Controller serves HTTP; port 0 takes a free one")
	flags.StringVar(&o.grpc, "grpc", operate.DevAddress, "where it serves gRPC")
	flags.StringVar(&o.ac, "ac", operate.DevACAddress, "where the development auth controller serves; a loopback address")
	flags.StringVar(&o.data, "data", "data", "the folder for the database and the auth controller's key")
	flags.StringVar(&o.database, "database", "", "postgres://… or sqlite:PATH; unless set, an SQLite file in the data folder")
	flags.StringVar(&o.logLevel, "log-level", "error", "the least important lines of the Global Controller's log: debug, info, warn or error")
	flags.IntVar(&o.controllers, "controllers", 12, "how many meeting controllers to simulate, 1 to 1000")
	flags.BoolVar(&o.killOne, "kill-one", false, "stop one meeting controller once all are healthy, to see it become unhealthy")
	return flagCommand{
		name: "dev", usage: "gcctl dev [FLAGS]", short: "run everything on this machine, with simulated meeting controllers", flags: flags, stderr: stderr,
		long: "dev runs a development auth controller, a Global Controller over SQLite and a small fleet of simulated meeting\n" +
			"controllers, which register and send heartbeats over real gRPC with real tokens. Stop it with Ctrl-C.",
		exec: func(ctx context.Context, args []string) error {
			if len(args) > 0 {
				return &usageError{fmt.Sprintf("dev takes flags only, not %q", args[0])}
			}
			if o.controllers < 1 || o.controllers > 1000 {
				return &usageError{fmt.Sprintf("--controllers is %d: allowed is 1 to 1000", o.controllers)}
			}
			return dev(ctx, o, stdout, stderr)
		},
	}
}

// dev runs the development stack until ctx ends.
func dev(ctx context.Context, o devOptions, stdout, stderr io.Writer) error {
	out := &screen{w: stdout}
	if err := requireLoopback(o.ac); err != nil {
		return err
	}
	unlock, err := lockFolder(o.data)
	if err != nil {
		return err
	}
	defer unlock()
	ac, err := devauth.New(filepath.Join(o.data, "dev-auth-key.pem"), time.Now)
	if err != nil {
		return fmt.Errorf("development auth controller: %w", err)
	}
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", o.ac)
	if err != nil {
		return fmt.Errorf("development auth controller: %w (is another gcctl dev running? --ac, --http and --grpc take other addresses, --data another folder)", err)
	}
	acAddress := "http://" + listener.Addr().String()
	cfg := daemon.DefaultConfig()
	cfg.BindAddress, cfg.GRPCBindAddress, cfg.DataDir, cfg.LogLevel = o.http, o.grpc, o.data, o.logLevel
	cfg.JWKSURL, cfg.GRPCReflection, cfg.Drain = acAddress+"/.well-known/jwks.json", true, 5*time.Second
	cfg.DatabaseURL = o.database
	if cfg.DatabaseURL == "" {
		cfg.DatabaseURL = "sqlite:" + filepath.Join(o.data, "global-controller.db")
	}
	// Before the server is made, so that a wrong level is not taken for another.
	logger, err := devLogger(stderr, cfg)
	if err != nil {
		return err
	}
	server, err := daemon.New(cfg, logger)
	if err != nil {
		_ = listener.Close()
		return fmt.Errorf("global controller: %w (--http and --grpc take other addresses)", err)
	}

	mc := devauth.Clients()[0]
	tokens, err := client.NewTokenSource(client.TokenConfig{URL: acAddress, ClientID: mc.ID, ClientSecret: client.Secret(mc.Secret)})
	if err != nil {
		_ = listener.Close()
		server.Close()
		return err
	}
	defer tokens.Close()

	var group run.Group
	addContext(&group, func(ctx context.Context) error { <-ctx.Done(); return nil }, ctx)
	// The fleet stops before the server that it reports to.
	f := &fleet{address: server.GRPCAddress(), tokens: tokens, size: o.controllers, killOne: o.killOne, threshold: cfg.StalenessThreshold, out: out, begin: make(chan struct{}), healthy: make(chan struct{})}
	addContext(&group, f.run, context.Background())
	w := &watcher{address: "http://" + server.HTTPAddress(), ac: ac, size: o.controllers, out: out, begin: func() { close(f.begin) }, allHealthy: func() { close(f.healthy) }}
	addContext(&group, w.run, context.Background())
	addContext(&group, server.Run, context.Background())
	acServer := &http.Server{Handler: ac, ReadHeaderTimeout: 5 * time.Second}
	group.Add(func() error { return ignoreClosed(acServer.Serve(listener)) }, func(error) { _ = acServer.Close() })

	if err := welcome(out, o, server, ac, acAddress); err != nil {
		return err
	}
	err = group.Run()
	out.line("stopped")
	return err
}

// lockFolder keeps a second development stack out of a folder: two of them would take each other's controllers for
// their own.
func lockFolder(folder string) (unlock func(), err error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	unlock, err = filelock.Try(filepath.Join(folder, "dev.lock"))
	switch {
	case errors.Is(err, filelock.ErrHeld):
		return nil, fmt.Errorf("another gcctl dev uses the folder %s: --data takes another folder, and --ac, --http and --grpc other addresses", folder)
	case err != nil:
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	return unlock, nil
}

func devLogger(stderr io.Writer, cfg daemon.Config) (log.Logger, error) {
	switch cfg.LogLevel {
	case "debug", "info", "warn", "error":
		return daemon.NewLogger(stderr, cfg), nil
	}
	return nil, &usageError{fmt.Sprintf("--log-level is %q: allowed is debug, info, warn or error", cfg.LogLevel)}
}

func welcome(out *screen, o devOptions, server *daemon.Server, ac *devauth.Server, acAddress string) error {
	token, err := ac.Token("dev-reader", map[string]any{"scope": "gc:read"})
	if err != nil {
		return err
	}
	acFlag, environment := "", ""
	if server.GRPCAddress() != operate.DevAddress || server.HTTPAddress() != operate.DevHTTPAddress || acAddress != "http://"+operate.DevACAddress {
		acFlag = " --ac " + acAddress
		environment = fmt.Sprintf("  gcctl finds it by  export GCCTL_ADDRESS=%s GCCTL_HTTP_ADDRESS=%s GCCTL_AC=%s\n", server.GRPCAddress(), server.HTTPAddress(), acAddress)
	}
	out.print(`Global Controller, development stack

  page               http://%[1]s/       (its token: gcctl token --client dev-admin%[7]s)
  HTTP               http://%[1]s        (/health, /ready, /metrics, /sd/controllers, /openapi.json)
  gRPC               %[2]s
  auth controller    %[3]s        FOR DEVELOPMENT ONLY: its secrets are public, its key lies in %[4]s
%[8]s
Try it, in another terminal (the token may read the fleet for an hour):

  curl -s -H 'authorization: Bearer %[5]s' http://%[1]s/api/v1/controllers

  grpcurl -plaintext -H 'authorization: Bearer %[5]s' %[2]s globalcontroller.v1.FleetService/ListControllers

%[6]d meeting controllers register now. A line follows whenever one changes its state; Ctrl-C stops everything.

`, server.HTTPAddress(), server.GRPCAddress(), acAddress, o.data, token, o.controllers, acFlag, environment)
	return nil
}

// addContext adds an actor that is stopped through its context.
func addContext(group *run.Group, work func(context.Context) error, parent context.Context) { //nolint:revive // The context is the parent of one made here.
	ctx, cancel := context.WithCancel(parent)
	group.Add(func() error { return work(ctx) }, func(error) { cancel() })
}

func ignoreClosed(err error) error {
	if err == http.ErrServerClosed { //nolint:errorlint // Serve returns the value itself.
		return nil
	}
	return err
}

func requireLoopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return &usageError{fmt.Sprintf("--ac is %q: allowed is HOST:PORT", address)}
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return &usageError{fmt.Sprintf("--ac is %q: its secrets are public, so it serves on a loopback address only", address)}
	}
	return nil
}
