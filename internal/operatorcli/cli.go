package operatorcli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// tool is one invocation.
type tool struct {
	Process
	flags targetFlags
}

// targetFlags are the flags that every command has which speaks to a Global Controller.
type targetFlags struct {
	config, context, address, httpAddress, ca, ac, client, secretFile, tokenFile, scope, color string
	tls                                                                                        bool
	timeout                                                                                    time.Duration
}

// operatorCommands returns the commands that call a Global Controller.
func operatorCommands(p Process) []*cobra.Command {
	t := &tool{Process: p}
	operate := []*cobra.Command{
		t.fleetCommand(),
		t.drainCommand(),
		t.undrainCommand(),
		t.deregisterCommand(),
		t.historyCommand(),
		t.regionsCommand(),
		t.replicasCommand(),
	}
	connect := []*cobra.Command{
		t.doctorCommand(),
		t.contextCommand(),
		t.tokenCommand(),
	}

	for _, c := range operate {
		c.GroupID = groupOperate
	}
	for _, c := range connect {
		c.GroupID = groupConnect
	}

	all := append(operate, connect...)
	for _, c := range all {
		t.addFlags(c)
	}
	return all
}

func (t *tool) addFlags(c *cobra.Command) {
	f := c.PersistentFlags()
	f.StringVar(&t.flags.config, "config", "", "the context `FILE` (GCCTL_CONFIG; default ~/.config/gcctl/config.yaml)")
	f.StringVar(&t.flags.context, "context", "", "the context's `NAME` (GCCTL_CONTEXT; default the file's current-context)")
	f.StringVar(&t.flags.address, "address", "", "`HOST:PORT` of the Global Controller's gRPC (GCCTL_ADDRESS)")
	f.StringVar(&t.flags.httpAddress, "http-address", "", "`HOST:PORT` or URL of its HTTP, for the doctor (GCCTL_HTTP_ADDRESS)")
	f.BoolVar(&t.flags.tls, "tls", false, "speak TLS")
	f.StringVar(&t.flags.ca, "ca-file", "", "a PEM `FILE` with the authorities to trust instead of the system's; means --tls (GCCTL_CA_FILE)")
	f.StringVar(&t.flags.tokenFile, "token-file", "", "a `FILE` with a token; GCCTL_TOKEN has the token itself")
	f.StringVar(&t.flags.ac, "ac", "", "the auth controller's base `URL` (GCCTL_AC)")
	f.StringVar(&t.flags.client, "client", "", "the `ID` of the OAuth client to get a token as (GCCTL_CLIENT)")
	f.StringVar(&t.flags.secretFile, "client-secret-file", "", "a `FILE` with its secret; GCCTL_CLIENT_SECRET has the secret itself")
	f.DurationVar(&t.flags.timeout, "timeout", 10*time.Second, "how long to wait for an answer")
	f.StringVar(&t.flags.color, "color", "auto", "auto, always or never; NO_COLOR means never")
	c.SetUsageFunc(usage)
	// They are always bound by their names here, so that none of them can fail.
	_ = c.RegisterFlagCompletionFunc("context", t.completeContexts)
	_ = c.RegisterFlagCompletionFunc("color", words("auto", "always", "never"))
	for _, name := range []string{"address", "http-address", "ac", "client", "timeout"} {
		_ = c.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
	c.PersistentPreRunE = func(*cobra.Command, []string) error { return t.checkFlags() }
}

func (t *tool) checkFlags() error {
	switch t.flags.color {
	case "auto", "always", "never":
	default:
		return wrongUse("--color is %q: allowed is auto, always, never", clean(t.flags.color))
	}
	if t.flags.timeout <= 0 {
		return wrongUse("--timeout is %v: it must be above 0", t.flags.timeout)
	}
	return nil
}

// paint colours what goes to Out.
func (t *tool) paint() painter { return t.paintFor(t.OutTerminal) }

func (t *tool) paintFor(terminal bool) painter {
	switch t.flags.color {
	case "always":
		return true
	case "never":
		return false
	}
	return painter(terminal && t.Env("NO_COLOR") == "")
}

// print writes a line to Out. There is nobody to tell when it cannot be written.
func (t *tool) print(format string, values ...any) {
	_, _ = fmt.Fprintf(t.Out, format+"\n", values...)
}

// note says something beside the result.
func (t *tool) note(format string, values ...any) {
	_, _ = fmt.Fprintln(t.Err, t.paintFor(t.ErrTerminal).paint(dim, "gcctl: "+clean(fmt.Sprintf(format, values...))))
}

func (t *tool) warn(format string, values ...any) {
	_, _ = fmt.Fprintln(t.Err, t.paintFor(t.ErrTerminal).paint(yellow, "gcctl: warning: "+clean(fmt.Sprintf(format, values...))))
}

// outputFlag adds -o.
func outputFlag(c *cobra.Command, into *string, forms ...string) {
	c.Flags().StringVarP(into, "output", "o", "", "the `FORM`: "+joinOr(forms)+"; unless set, a table for people")
	_ = c.RegisterFlagCompletionFunc("output", words(forms...))
}

func joinOr(texts []string) string {
	text := texts[0]
	for i, word := range texts[1:] {
		if i == len(texts)-2 {
			text += " or " + word
		} else {
			text += ", " + word
		}
	}
	return text
}

func words(texts ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(texts, cobra.ShellCompDirectiveNoFileComp)
}

// group is a command that only holds others.
func group(use, short, long, example string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Long: long, Example: example}
	c.RunE = func(c *cobra.Command, args []string) error { return NoSuchCommand(c, args) }
	c.Args = cobra.ArbitraryArgs
	c.AddCommand(commands...)
	return c
}

// NoSuchCommand is what a command says that only holds others, when none of them was named.
func NoSuchCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return wrongUse("%s needs a command; see %s --help", c.CommandPath(), c.CommandPath())
	}
	c.SuggestionsMinimumDistance = 2
	hint := ""
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "; did you mean " + joinOr(near) + "?"
	}
	return wrongUse("unknown command %q%s; see %s --help", clean(args[0]), hint, c.CommandPath())
}

// arguments checks how many there are.
func arguments(least, most int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < least || most >= 0 && len(args) > most {
			return wrongUse("%s takes %s, not %s; see %s --help", c.CommandPath(), what, counted(int64(len(args)), "argument", "arguments"), c.CommandPath())
		}
		return nil
	}
}

// withoutRepetition leaves each argument where it comes first.
func withoutRepetition(args []string) []string {
	var once []string
	for _, arg := range args {
		if !slices.Contains(once, arg) {
			once = append(once, arg)
		}
	}
	return once
}

func flagGiven(c *cobra.Command, name string) bool {
	found := false
	c.Flags().Visit(func(f *pflag.Flag) { found = found || f.Name == name })
	return found
}

// isFile tells whether a path names something, for the doctor.
func isFile(path string) bool {
	_, err := os.Stat(filepath.Clean(path))
	return err == nil
}
