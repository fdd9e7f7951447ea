package operatorcli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"darktower.example/global-controller/internal/fleetsim"
	"darktower.example/global-controller/pkg/devauth"
)

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

// simulateOptions are the flags of gcctl simulate.
type simulateOptions struct {
	fleetsim.Options

	// How to reach a Global Controller that is running already.
	address      string
	tls          bool
	ca           string
	ac           string
	mcClient     string
	readerClient string
	mcToken      string
	readerToken  string

	realTime bool
	json     string
	plain    bool
}

func simulateCommand(p Process) *cobra.Command {
	var o simulateOptions
	c := &cobra.Command{
		Use:     "simulate SCENARIO…|all|list",
		GroupID: groupTry,
		Short:   "run a simulated fleet, inject a fault, and check the guarantees",
		Long:    simulateHelp,
		RunE: func(c *cobra.Command, names []string) error {
			return runSimulate(c.Context(), o, names, p)
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return scenarioNames(), cobra.ShellCompDirectiveNoFileComp
		},
	}
	f := c.Flags()
	f.SortFlags = false

	f.IntVar(&o.MCs, "mcs", 200, "number of meeting controllers, 1 to 100000")
	f.IntVar(&o.Connections, "connections", 8, "number of gRPC connections that they share")
	f.IntVar(&o.Regions, "regions", 3, "number of regions")
	f.DurationVar(&o.Ramp, "ramp", 0, "time over which the fleet starts (default 2 ms for each controller, at least --fast)")
	f.DurationVar(&o.Duration, "duration", 0, "time that the fleet runs before the fault (default and minimum 4 × --fast)")
	f.Uint64Var(&o.Seed, "seed", 1, "seed of the random choice of controllers")
	f.IntVar(&o.Parallel, "parallel", 1, "number of scenarios to run at once, 1 to 100, each with servers of its own")

	f.DurationVar(&o.Timing.Fast, "fast", 0,
		"interval of fast heartbeats (default 2s; 10s with --real-time or --address, where it must be that server's)")
	f.DurationVar(&o.Timing.Comprehensive, "comprehensive", 0,
		"interval of comprehensive heartbeats (default 3 × --fast, or the server's minimum if that is more)")
	f.DurationVar(&o.Timing.Threshold, "threshold", 0,
		"staleness threshold (default 3 × --fast, or the server's minimum if that is more)")
	f.BoolVar(&o.realTime, "real-time", false, "use the intervals of production: 10s, 30s, 30s")

	f.StringVar(&o.Store, "store", "sqlite", "store of the Global Controllers that are started: sqlite or postgres")
	f.StringVar(&o.Database, "database", "",
		"`URL` of a PostgreSQL server on which databases may be created; --store postgres starts a temporary server by default")

	f.StringVar(&o.address, "address", "", "`HOST:PORT` of a Global Controller that is running already")
	f.BoolVar(&o.tls, "tls", false, "use TLS for --address")
	f.StringVar(&o.ca, "ca-file", "", "PEM `FILE` with the authorities to trust instead of the system's; implies --tls")
	f.StringVar(&o.ac, "ac", "", "base `URL` of its auth controller, for tokens")
	f.StringVar(&o.mcClient, "mc-client", "dev-mc",
		"`ID` of the OAuth client for the fleet's tokens; GCCTL_MC_SECRET has its secret, except for gcctl dev")
	f.StringVar(&o.readerClient, "reader-client", "dev-reader",
		"`ID` of the OAuth client for reading the fleet (scope gc:read); GCCTL_READER_SECRET has its secret")
	f.StringVar(&o.mcToken, "mc-token-file", "", "`FILE` with a token for the fleet, instead of --ac; or GCCTL_MC_TOKEN")
	f.StringVar(&o.readerToken, "reader-token-file", "",
		"`FILE` with a token for reading the fleet, instead of --ac; or GCCTL_READER_TOKEN")

	f.StringVar(&o.json, "json", "", "`FILE` for the verdicts as JSON; - writes them, and nothing else, to standard output")
	f.BoolVar(&o.plain, "plain", false, "print lines instead of redrawing the terminal")
	return c
}

// scenarioNames are what may be played.
func scenarioNames() []string {
	names := []string{"all", "list"}
	for _, s := range fleetsim.Scenarios() {
		names = append(names, s.Name)
	}
	return names
}

func runSimulate(ctx context.Context, o simulateOptions, names []string, p Process) error {
	if len(names) == 1 && names[0] == "list" {
		fleetsim.WriteScenarioList(p.Out)
		return nil
	}
	if slices.Contains(names, "list") {
		return wrongUse("list only lists the scenarios and takes no names; see gcctl simulate --help")
	}
	if len(names) == 0 {
		return wrongUse("simulate needs the name of a scenario, all, or list; see gcctl simulate --help")
	}
	if o.realTime || o.address != "" {
		o.Timing.Complete(fleetsim.RealFast)
	}
	if err := o.existing(); err != nil {
		return err
	}
	scenarios, err := fleetsim.FindScenarios(names, o.Existing == nil)
	if err != nil {
		return wrongUse("%v", err)
	}
	if err := o.Validate(); err != nil {
		return wrongUse("%v", err)
	}
	o.Out, o.TableOut = p.Out, p.Out
	if o.json == "-" {
		o.Out, o.TableOut = p.Err, p.Err
	}
	o.Terminal = !o.plain && isTerminal(o.Out)
	if o.GC.Path == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find this program: %w", err)
		}
		o.GC = fleetsim.Command{Path: self, Args: []string{daemonCommand}}
	}
	file, err := openVerdicts(o.json, p.Out)
	if err != nil {
		return err
	}
	verdicts, interrupted := fleetsim.Run(ctx, o.Options, scenarios)
	// Of an interrupted run as well: some scenarios may have come to their end, and each verdict says whether its did.
	if err := file.write(verdicts); err != nil || interrupted != nil {
		return errors.Join(interrupted, err)
	}
	return fleetsim.VerdictsError(verdicts)
}

// existing reads how to reach a Global Controller that is there.
func (o *simulateOptions) existing() error {
	if o.address == "" {
		return nil
	}
	e := &fleetsim.Existing{Address: o.address, AC: o.ac}
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
		if e.MC, err = oauthClient(o.mcClient, "GCCTL_MC_SECRET"); err != nil {
			return err
		}
		e.Reader, err = oauthClient(o.readerClient, "GCCTL_READER_SECRET")
		o.Existing = e
		return err
	}
	if e.MCToken, err = readToken(o.mcToken, "GCCTL_MC_TOKEN", "--mc-token-file"); err != nil {
		return err
	}
	e.ReadToken, err = readToken(o.readerToken, "GCCTL_READER_TOKEN", "--reader-token-file")
	o.Existing = e
	return err
}

// oauthClient returns a client with its secret from the environment, because other users of the machine can read flags. The
// secrets of gcctl dev are built in.
func oauthClient(id, variable string) (devauth.Client, error) {
	if secret := os.Getenv(variable); secret != "" {
		return devauth.Client{ID: id, Secret: devauth.Secret(secret)}, nil
	}
	for _, c := range devauth.Clients() {
		if c.ID == id {
			return c, nil
		}
	}
	return devauth.Client{}, wrongUse("%s must hold the secret of the client %s", variable, id)
}

func readToken(file, variable, name string) (devauth.Secret, error) {
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
	return "", wrongUse("--address needs tokens: give --ac, or %s or %s", name, variable)
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
