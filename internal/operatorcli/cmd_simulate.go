package operatorcli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"darktower.example/global-controller/internal/fleetsim"
)

const simulateHelp = `simulate runs a simulated fleet of meeting controllers on the real client SDK against a Global Controller. It
injects a fault, and prints a table of the guarantees that held.

By default, each scenario starts its own Global Controller on free ports, with a store and an auth controller that the
scenario can disturb. It removes all of them at the end. With --address, the fleet registers with a Global Controller that
is running already, under ids that begin with "sim-", and leaves it at the end.

The exit code says what the run showed:

  0    all guarantees held
  1    a guarantee did not hold, or a scenario could not be completed
  2    usage error
  130  interrupted (143 after SIGTERM, 129 after the end of the terminal); the run says nothing about unfinished scenarios`

// simulateOptions are the flags of gcctl simulate.
type simulateOptions struct {
	fleetsim.Options

	// How to connect to a Global Controller that is running already.
	address         string
	tls             bool
	caFile          string
	acURL           string
	mcClient        string
	readerClient    string
	mcTokenFile     string
	readerTokenFile string

	realTime bool
	jsonFile string
	plain    bool
}

func simulateCommand(p Process) *cobra.Command {
	var o simulateOptions
	cmd := &cobra.Command{
		Use:     "simulate SCENARIO…|all|list",
		GroupID: groupTry,
		Short:   "run a simulated fleet, inject a fault, and check the guarantees",
		Long:    simulateHelp,
		Example: `  gcctl simulate list                                # the scenarios
  gcctl simulate steady                              # 200 controllers without a fault
  gcctl simulate gc-restart db-outage                # two scenarios, one after the other
  gcctl simulate all --parallel 7 --store postgres   # all of them, seven at once, on a temporary PostgreSQL
  gcctl simulate steady --mcs 5000 --ramp 1m --duration 10m
                                                     # a large fleet that starts slowly and runs for a while
  gcctl simulate herd --real-time --json -           # the intervals of production; the results as JSON
  gcctl simulate crash-10-percent --address 127.0.0.1:50051 --ac http://127.0.0.1:8082 --mcs 50
                                                     # against gcctl dev in another terminal
  GCCTL_MC_SECRET=… GCCTL_READER_SECRET=… gcctl simulate steady --address gc.example:443 --tls \
    --ac https://auth.example --mc-client mc-test --reader-client ops
                                                     # against your own Global Controller`,
		RunE: func(cmd *cobra.Command, names []string) error {
			return runSimulate(cmd.Context(), o, names, p)
		},
		ValidArgsFunction: cobra.FixedCompletions(scenarioNames(), cobra.ShellCompDirectiveNoFileComp),
	}

	o.addFlags(cmd)
	return cmd
}

func (o *simulateOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.SortFlags = false

	f.IntVar(&o.Controllers, "mcs", 200, "number of meeting controllers, 1 to 100000")
	f.IntVar(&o.Connections, "connections", 8, "number of gRPC connections that they share")
	f.IntVar(&o.Regions, "regions", 3, "number of regions")
	f.DurationVar(&o.Ramp, "ramp", 0, "time over which the fleet starts (default 2 ms for each controller, at least --fast)")
	f.DurationVar(&o.Duration, "duration", 0, "time that the fleet runs before the fault (default and minimum 4 × --fast)")
	f.Uint64Var(&o.Seed, "seed", 1, "seed of the random choice of controllers")
	f.IntVar(&o.Parallel, "parallel", 1, "number of scenarios to run at once, 1 to 100, each with its own servers")

	f.DurationVar(&o.Timing.Fast, "fast", 0,
		"interval of fast heartbeats (default 2s; 10s with --real-time or --address; with --address it must be the server's)")
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
	f.StringVar(&o.caFile, "ca-file", "", "PEM `FILE` with the authorities to trust instead of the system's; implies --tls")
	f.StringVar(&o.acURL, "ac", "", "base `URL` of its auth controller, for tokens")
	f.StringVar(&o.mcClient, "mc-client", "dev-mc",
		"`ID` of the OAuth client for the fleet's tokens; GCCTL_MC_SECRET has its secret, except for gcctl dev")
	f.StringVar(&o.readerClient, "reader-client", "dev-reader",
		"`ID` of the OAuth client for reading the fleet (scope gc:read); GCCTL_READER_SECRET has its secret")
	f.StringVar(&o.mcTokenFile, "mc-token-file", "", "`FILE` with a token for the fleet, instead of --ac; or GCCTL_MC_TOKEN")
	f.StringVar(&o.readerTokenFile, "reader-token-file", "",
		"`FILE` with a token for reading the fleet, instead of --ac; or GCCTL_READER_TOKEN")

	f.StringVar(&o.jsonFile, "json", "", "`FILE` for the results as JSON; - writes them, and nothing else, to standard output")
	f.BoolVar(&o.plain, "plain", false, "print lines instead of redrawing the terminal")
}

// scenarioNames returns the valid arguments of simulate.
func scenarioNames() []string {
	names := []string{"all", "list"}
	for _, s := range fleetsim.Scenarios() {
		names = append(names, s.Name)
	}
	return names
}

func runSimulate(ctx context.Context, o simulateOptions, names []string, p Process) error {
	switch {
	case len(names) == 1 && names[0] == "list":
		fleetsim.WriteScenarioList(p.Out)
		return nil
	case slices.Contains(names, "list"):
		return usageError("list takes no scenario names; see gcctl simulate --help")
	case len(names) == 0:
		return usageError("simulate needs the name of a scenario, all, or list; see gcctl simulate --help")
	}

	scenarios, err := o.prepare(names, p)
	if err != nil {
		return err
	}
	// The file is opened first, so that an invalid path does not cost a run.
	file, err := openVerdictFile(o.jsonFile, p.Out)
	if err != nil {
		return err
	}

	verdicts, runErr := fleetsim.Run(ctx, o.Options, scenarios)
	// The verdicts of an interrupted run are written as well: each of them says whether its scenario was interrupted.
	if err := file.write(verdicts); err != nil || runErr != nil {
		return errors.Join(runErr, err)
	}
	return fleetsim.VerdictsError(verdicts)
}

// prepare checks and completes the options, and returns the scenarios to run.
func (o *simulateOptions) prepare(names []string, p Process) ([]fleetsim.Scenario, error) {
	if o.realTime || o.address != "" {
		o.Timing.Complete(fleetsim.RealFast)
	}
	if err := o.setExisting(); err != nil {
		return nil, err
	}

	scenarios, err := fleetsim.FindScenarios(names, o.Existing == nil)
	if err != nil {
		return nil, usageError("%v", err)
	}
	if err := o.Validate(); err != nil {
		return nil, usageError("%v", err)
	}

	o.Out, o.TableOut = p.Out, p.Out
	o.Terminal = !o.plain && p.OutTerminal
	if o.jsonFile == "-" {
		o.Out, o.TableOut = p.Err, p.Err
		o.Terminal = !o.plain && p.ErrTerminal
	}

	if o.GlobalController.Path == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find the path of gcctl: %w", err)
		}
		o.GlobalController = fleetsim.Command{Path: self, Args: []string{daemonCommand}}
	}
	return scenarios, nil
}
