package operatorcli

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"darktower.example/global-controller/internal/daemon"
)

const doctorHelp = `doctor checks everything between this machine and a working fleet, and says what to do about each problem. It changes
nothing. In this order, it checks:

  GC settings      with --gc-config-file: the settings of the service
  configuration    the context, and the files of secrets
  address, TLS     the connection to the Global Controller
  gRPC health      its health service, and over HTTP its readiness checks (/ready)
  auth controller  the published keys
  token, access    the token, and whether the Global Controller accepts it
  clocks           this machine, the Global Controller, the auth controller and the store
  versions         gcctl and the Global Controller
  callers          callers that are refused by their key, a clock or TLS
  health checker   whether controllers can be marked stale
  database         whether it accepts writes, and its schema
  replicas         the versions and settings of all Global Controllers that share the database, and their connections
  fleet, regions   stale controllers, ids that two processes use, and regions without headroom

The exit code is 0 if no check failed, and 1 if one did. A warning is not a failure.`

// The results of a check.
const (
	resultOK      = "ok"
	resultWarning = "warn"
	resultFail    = "FAIL"
	resultSkipped = "skip"
)

// The advice of several checks.
const (
	adviceServerLog = "see the log of the Global Controller"
	adviceCA        = "name a PEM file with the authorities to trust in tls.ca or --ca-file"
)

// finding is the outcome of a check.
type finding struct {
	Check  string `json:"check"`
	Result string `json:"result"`
	Detail string `json:"detail"`
	// Advice says what to do; empty if there is nothing to do.
	Advice string `json:"advice,omitempty"`
}

// doctor runs the checks. Later checks use what earlier ones have found.
type doctor struct {
	cli    *cli
	target target
	// conn is nil until the configuration is valid.
	conn *connection
	// gcHTTP is for the Global Controller, acHTTP for the auth controller.
	gcHTTP, acHTTP *http.Client
	// maxTokenSkew is how far in the future a token may be issued.
	maxTokenSkew time.Duration
	findings     []finding
	// onFinding is called for each finding.
	onFinding func(finding)
	// clocks are the offsets of other clocks from that of this machine.
	clocks map[string]clockOffset
	// keyIDs are the ids of the keys that the auth controller publishes; nil if they are not known.
	keyIDs map[string]bool
}

// doctorOptions are the flags of doctor.
type doctorOptions struct {
	gcConfigFile string
	output       string
}

func (c *cli) doctorCommand() *cobra.Command {
	var o doctorOptions
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "find problems, and say how to fix them",
		Long:  doctorHelp,
		Example: `  gcctl doctor
  gcctl doctor --context prod
  gcctl doctor --gc-config-file /etc/global-controller.conf   # also checks the settings of the service
  gcctl doctor -o json | jq '.[] | select(.result == "FAIL")'`,
		Args: requireArgs(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.runDoctor(cmd.Context(), o) },
	}

	cmd.Flags().StringVar(&o.gcConfigFile, "gc-config-file", "", "settings `FILE` of the Global Controller (GC_CONFIG_FILE) to check as well")
	addOutputFlag(cmd, &o.output, "json", "yaml")
	return cmd
}

func (c *cli) runDoctor(ctx context.Context, o doctorOptions) error {
	if err := checkOutputFormat(o.output, "json", "yaml"); err != nil {
		return err
	}

	d := &doctor{
		cli:          c,
		maxTokenSkew: daemon.DefaultConfig().ClockSkew,
		clocks:       make(map[string]clockOffset),
		onFinding:    func(finding) {},
	}
	if o.output == "" {
		d.onFinding = c.printFinding
	}

	d.runChecks(ctx, o)
	if d.conn != nil {
		d.conn.close()
	}
	if isInterrupted(ctx) {
		return ErrInterrupted
	}

	if o.output != "" {
		if err := writeAs(c.Out, o.output, d.findings); err != nil {
			return err
		}
	}
	if failed := d.countFailed(); failed > 0 {
		return newFailure(ExitFailure, "%s failed", formatCount(failed, "check", "checks"))
	}
	return nil
}

// runChecks runs all checks whose conditions are met.
func (d *doctor) runChecks(ctx context.Context, o doctorOptions) {
	d.checkServerSettings(o.gcConfigFile)
	if !d.checkConfiguration() {
		return
	}

	isReachable := d.checkAddress(ctx) && d.checkTLS(ctx)
	if isReachable {
		d.checkHealth(ctx)
	}

	d.checkReady(ctx)
	d.checkAuthController(ctx)
	hasAccess := d.checkToken(ctx) && isReachable && d.checkAccess(ctx)
	d.checkClocks()
	d.checkMetrics(ctx)
	if hasAccess {
		d.checkReplicas(ctx)
		d.checkFleet(ctx)
	}
}

// report adds a finding.
func (d *doctor) report(check, result, advice, format string, values ...any) {
	f := finding{
		Check:  check,
		Result: result,
		Detail: clean(fmt.Sprintf(format, values...)),
		Advice: clean(advice),
	}
	d.findings = append(d.findings, f)
	d.onFinding(f)
}

func (d *doctor) countFailed() (count int64) {
	for _, f := range d.findings {
		if f.Result == resultFail {
			count++
		}
	}
	return count
}

func (c *cli) printFinding(f finding) {
	styles := map[string]style{resultOK: green, resultWarning: yellow, resultFail: red, resultSkipped: dim}
	result := c.painter().paint(styles[f.Result], fmt.Sprintf("%-4s", f.Result))
	c.print("%s  %-15s %s", result, f.Check, f.Detail)
	if f.Advice != "" {
		c.print("      %-15s → %s", "", f.Advice)
	}
}
