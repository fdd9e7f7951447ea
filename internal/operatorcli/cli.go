package operatorcli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// cli runs one command. It has the streams of the process and the flags that all operator commands share.
type cli struct {
	Process
	flags connectionFlags
}

// connectionFlags are the flags of every command that connects to a Global Controller.
type connectionFlags struct {
	config           string
	context          string
	address          string
	httpAddress      string
	tls              bool
	caFile           string
	tokenFile        string
	acURL            string
	clientID         string
	clientSecretFile string
	timeout          time.Duration
	color            string

	// scope is a flag of gcctl token only.
	scope string
}

// operatorCommands returns the commands that call a Global Controller.
func operatorCommands(p Process) []*cobra.Command {
	c := &cli{Process: p}
	operate := []*cobra.Command{
		c.fleetCommand(),
		c.drainCommand(),
		c.undrainCommand(),
		c.deregisterCommand(),
		c.historyCommand(),
		c.regionsCommand(),
		c.replicasCommand(),
	}

	connect := []*cobra.Command{
		c.doctorCommand(),
		c.contextCommand(),
		c.tokenCommand(),
	}

	for _, cmd := range operate {
		cmd.GroupID = groupOperate
	}
	for _, cmd := range connect {
		cmd.GroupID = groupConnect
	}

	all := append(operate, connect...)
	for _, cmd := range all {
		c.addConnectionFlags(cmd)
	}
	return all
}

func (c *cli) addConnectionFlags(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringVar(&c.flags.config, "config", "", "context `FILE` (GCCTL_CONFIG; default ~/.config/gcctl/config.yaml)")
	f.StringVar(&c.flags.context, "context", "", "`NAME` of the context (GCCTL_CONTEXT; default the file's current-context)")
	f.StringVar(&c.flags.address, "address", "", "`HOST:PORT` of the Global Controller's gRPC (GCCTL_ADDRESS)")
	f.StringVar(&c.flags.httpAddress, "http-address", "", "`HOST:PORT` or URL of its HTTP, for doctor (GCCTL_HTTP_ADDRESS)")
	f.BoolVar(&c.flags.tls, "tls", false, "use TLS")
	f.StringVar(&c.flags.caFile, "ca-file", "",
		"PEM `FILE` with the authorities to trust instead of the system's; implies --tls (GCCTL_CA_FILE)")
	f.StringVar(&c.flags.tokenFile, "token-file", "", "`FILE` with a token; GCCTL_TOKEN has the token itself")
	f.StringVar(&c.flags.acURL, "ac", "", "base `URL` of the auth controller (GCCTL_AC)")
	f.StringVar(&c.flags.clientID, "client", "", "`ID` of the OAuth client to get a token for (GCCTL_CLIENT)")
	f.StringVar(&c.flags.clientSecretFile, "client-secret-file", "",
		"`FILE` with the client's secret; GCCTL_CLIENT_SECRET has the secret itself")
	f.DurationVar(&c.flags.timeout, "timeout", 10*time.Second, "time limit of each call")
	f.StringVar(&c.flags.color, "color", "auto", "auto, always or never; NO_COLOR means never")
	cmd.SetUsageFunc(writeUsage)

	// The only possible error is an unknown flag, and all of these exist.
	_ = cmd.RegisterFlagCompletionFunc("context", c.completeContexts)
	_ = cmd.RegisterFlagCompletionFunc("color", completeWords("auto", "always", "never"))
	disableFileCompletion(cmd, "address", "http-address", "ac", "client", "timeout")

	cmd.PersistentPreRunE = func(*cobra.Command, []string) error { return c.checkFlags() }
}

func (c *cli) checkFlags() error {
	switch c.flags.color {
	case "auto", "always", "never":
	default:
		return usageError("--color is %q: allowed is auto, always, never", clean(c.flags.color))
	}
	if c.flags.timeout <= 0 {
		return usageError("--timeout is %v: it must be above 0", c.flags.timeout)
	}
	return nil
}

// painter returns the painter for Out.
func (c *cli) painter() painter { return c.painterFor(c.OutTerminal) }

func (c *cli) painterFor(isTerminal bool) painter {
	switch c.flags.color {
	case "always":
		return true
	case "never":
		return false
	}
	return painter(isTerminal && c.Env("NO_COLOR") == "")
}

// print writes a line to Out. A write error is ignored: it could only be reported on the same streams.
func (c *cli) print(format string, values ...any) {
	_, _ = fmt.Fprintf(c.Out, format+"\n", values...)
}

// note writes a line to Err that adds to the result.
func (c *cli) note(format string, values ...any) {
	text := "gcctl: " + clean(fmt.Sprintf(format, values...))
	_, _ = fmt.Fprintln(c.Err, c.painterFor(c.ErrTerminal).paint(dim, text))
}

func (c *cli) warn(format string, values ...any) {
	text := "gcctl: warning: " + clean(fmt.Sprintf(format, values...))
	_, _ = fmt.Fprintln(c.Err, c.painterFor(c.ErrTerminal).paint(yellow, text))
}
