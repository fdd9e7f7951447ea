package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"darktower.example/global-controller/cmd/internal/daemon"
	"darktower.example/global-controller/cmd/internal/simulate"
	"darktower.example/global-controller/pkg/devauth"
)

// gcWord has gcctl be a Global Controller, as the simulator starts them. It is not for people, who have the daemon.
const gcWord = "gc"

const simulateHelp = `simulate plays a fleet of meeting controllers, which speak through the SDK that real ones use, against a Global
Controller; has something go wrong; and says in a table which promises were kept.

Unless --address names a Global Controller that is there, each scenario starts one of its own, on free ports, with a
store and an auth controller that the scenario can harm. Nothing of it is left afterwards.

  gcctl simulate list                              what can go wrong
  gcctl simulate steady                            200 controllers, and nothing goes wrong
  gcctl simulate gc-restart db-outage              two scenarios, one after the other
  gcctl simulate all --parallel 7 --store postgres all of them, seven at once, on a throw-away PostgreSQL
  gcctl simulate steady --mcs 5000 --ramp 1m --duration 10m
                                                   a large fleet that starts slowly and stays for a while
  gcctl simulate herd --real-time --json -         at the intervals of production; the verdict as JSON
  gcctl simulate crash-10-percent --address 127.0.0.1:50051 --ac http://127.0.0.1:8082 --mcs 50
                                                   against gcctl dev in another terminal
  GCCTL_MC_SECRET=… GCCTL_READER_SECRET=… gcctl simulate steady --address gc.example:443 --tls \
    --ac https://auth.example --mc-client mc-test --reader-client ops
                                                   against one of yours, with its auth controller

A fleet plays against a Global Controller that is there under ids that begin with "sim-", and leaves it at the end.

It exits with 0 when all promises were kept, 1 when one was broken or a scenario could not be played, 2 when it was used
wrongly, and 130 when it was interrupted (143 by SIGTERM, 129 by a terminal that closed), which says nothing about them.`

// simulateOptions are the flags of gcctl simulate that need more than being stored.
type simulateOptions struct {
	simulate.Options
	address, ac, mcClient, readerClient, mcToken, readerToken, ca, json string
	tls, realTime, plain                                                bool
}

func simulateCommand(stdout, stderr io.Writer) flagCommand {
	var o simulateOptions
	flags := flag.NewFlagSet("gcctl simulate", flag.ContinueOnError)
	flags.IntVar(&o.MCs, "mcs", 200, "how many meeting controllers")
	flags.IntVar(&o.Connections, "connections", 8, "over how many connections")
	flags.IntVar(&o.Regions, "regions", 3, "in how many regions")
	flags.StringVar(&o.Store, "store", "sqlite", "what a Global Controller of our own stores in: sqlite or postgres")
	flags.StringVar(&o.Database, "database", "", "postgres://… of a server on which databases may be made; unless set, --store postgres starts a throw-away one")
	flags.IntVar(&o.Parallel, "parallel", 1, "how many scenarios at once, each in a world of its own")
	flags.DurationVar(&o.Timing.Fast, "fast", 0, "the interval of fast heartbeats (default 2s; 10s with --real-time or --address, where it must be that Global Controller's)")
	flags.DurationVar(&o.Timing.Comprehensive, "comprehensive", 0,
		"the interval of comprehensive heartbeats (default 3 × --fast, or what the service needs if that is more)")
	flags.DurationVar(&o.Timing.Threshold, "threshold", 0,
		"how long a controller may be silent (default 3 × --fast, or what the service needs if that is more)")
	flags.BoolVar(&o.realTime, "real-time", false, "the intervals of production: 10s, 30s, 30s")
	flags.DurationVar(&o.Duration, "duration", 0, "how long the fleet is watched before anything happens (default, and at least, 4 × --fast)")
	flags.DurationVar(&o.Ramp, "ramp", 0, "over what time the fleet starts (default 2 ms for each, and no less than --fast)")
	flags.Uint64Var(&o.Seed, "seed", 1, "which controllers chance picks")
	flags.StringVar(&o.address, "address", "", "HOST:PORT of a Global Controller that is there")
	flags.StringVar(&o.ac, "ac", "", "the base address of its auth controller, for tokens")
	flags.StringVar(&o.mcClient, "mc-client", "dev-mc", "the OAuth client that the fleet gets its tokens as; its secret is GCCTL_MC_SECRET, unless the client is the one of gcctl dev")
	flags.StringVar(&o.readerClient, "reader-client", "dev-reader", "likewise for reading the fleet (scope gc:read); GCCTL_READER_SECRET")
	flags.StringVar(&o.mcToken, "mc-token-file", "", "instead of --ac: a file with a token for the fleet, or GCCTL_MC_TOKEN")
	flags.StringVar(&o.readerToken, "reader-token-file", "", "instead of --ac: a file with a token for reading the fleet, or GCCTL_READER_TOKEN")
	flags.BoolVar(&o.tls, "tls", false, "speak TLS with --address")
	flags.StringVar(&o.ca, "ca-file", "", "a PEM file with the authorities to trust instead of the system's; means --tls")
	flags.StringVar(&o.json, "json", "", "a file for the verdicts as JSON, opened at the start and written at the end; - for the standard output, which then has nothing else")
	flags.BoolVar(&o.plain, "plain", false, "print lines even where the terminal can be redrawn")
	return flagCommand{
		name: "simulate", usage: "gcctl simulate SCENARIO…|all|list [FLAGS]", short: "play a fleet, have something go wrong, and see which promises are kept",
		long: simulateHelp, flags: flags, stderr: stderr, names: scenarioNames(),
		exec: func(ctx context.Context, names []string) error { return runSimulate(ctx, o, names, stdout, stderr) },
	}
}

// scenarioNames are what may be played.
func scenarioNames() []string {
	names := []string{"all", "list"}
	for _, s := range simulate.Scenarios() {
		names = append(names, s.Name)
	}
	return names
}

func runSimulate(ctx context.Context, o simulateOptions, names []string, stdout, stderr io.Writer) error {
	if len(names) == 1 && names[0] == "list" {
		simulate.WriteList(stdout)
		return nil
	}
	if slices.Contains(names, "list") {
		return &usageError{"list only lists the scenarios: it takes no names; see gcctl simulate --help"}
	}
	if len(names) == 0 {
		return &usageError{"simulate needs the name of a scenario, all, or list; see gcctl simulate --help"}
	}
	if o.realTime || o.address != "" {
		o.Timing.Complete(simulate.RealFast)
	}
	if err := o.existing(); err != nil {
		return err
	}
	scenarios, err := simulate.Find(names, o.Existing == nil)
	if err != nil {
		return &usageError{err.Error()}
	}
	if err := o.Validate(); err != nil {
		return &usageError{err.Error()}
	}
	o.Out, o.TableOut = stdout, stdout
	if o.json == "-" {
		o.Out, o.TableOut = stderr, stderr
	}
	o.Terminal = !o.plain && isTerminal(o.Out)
	if o.GC.Path == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find this program: %w", err)
		}
		o.GC = simulate.Command{Path: self, Args: []string{gcWord}}
	}
	file, err := openVerdicts(o.json, stdout)
	if err != nil {
		return err
	}
	verdicts, interrupted := simulate.Run(ctx, o.Options, scenarios)
	// Of an interrupted run as well: some scenarios may have come to their end, and each verdict says whether its did.
	if err := file.write(verdicts); err != nil || interrupted != nil {
		return errors.Join(interrupted, err)
	}
	return simulate.Broken(verdicts)
}

// existing reads how to reach a Global Controller that is there.
func (o *simulateOptions) existing() error {
	if o.address == "" {
		return nil
	}
	e := &simulate.Existing{Address: o.address, AC: o.ac}
	if o.tls || o.ca != "" {
		e.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if o.ca != "" {
		text, err := os.ReadFile(o.ca)
		if err != nil {
			return fmt.Errorf("read --ca-file: %w", err)
		}
		if e.TLS.RootCAs = x509.NewCertPool(); !e.TLS.RootCAs.AppendCertsFromPEM(text) {
			return fmt.Errorf("read --ca-file: %s has no certificate", o.ca)
		}
	}
	var err error
	if o.ac != "" {
		if e.MC, err = credentials(o.mcClient, "GCCTL_MC_SECRET"); err != nil {
			return err
		}
		e.Reader, err = credentials(o.readerClient, "GCCTL_READER_SECRET")
		o.Existing = e
		return err
	}
	if e.MCToken, err = token(o.mcToken, "GCCTL_MC_TOKEN", "--mc-token-file"); err != nil {
		return err
	}
	e.ReadToken, err = token(o.readerToken, "GCCTL_READER_TOKEN", "--reader-token-file")
	o.Existing = e
	return err
}

// credentials takes a client's secret from the environment, as anybody can read flags; those of gcctl dev are known.
func credentials(id, variable string) (devauth.Client, error) {
	if secret := os.Getenv(variable); secret != "" {
		return devauth.Client{ID: id, Secret: devauth.Secret(secret)}, nil
	}
	for _, c := range devauth.Clients() {
		if c.ID == id {
			return c, nil
		}
	}
	return devauth.Client{}, &usageError{fmt.Sprintf("%s must hold the secret of the client %s", variable, id)}
}

func token(file, variable, name string) (devauth.Secret, error) {
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("read %s: %w", name, err)
		}
		return devauth.Secret(strings.TrimSpace(string(text))), nil
	}
	if text := os.Getenv(variable); text != "" {
		return devauth.Secret(text), nil
	}
	return "", &usageError{fmt.Sprintf("--address needs tokens: give --ac, or %s or %s", name, variable)}
}

// isTerminal tells whether what is written can be redrawn.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" || os.Getenv("TERM") == "" {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// runGC is a Global Controller that ends with the process that started it, whatever became of that one: its standard
// input ends then.
func runGC(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		os.Exit(1)
	}()
	return daemon.Main(ctx, args, stdout, stderr)
}
