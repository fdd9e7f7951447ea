package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"darktower.example/global-controller/cmd/internal/daemon"
	"darktower.example/global-controller/cmd/internal/operate"
)

// flagCommand is a command with flags of package flag, which may stand behind and between its names: dev and simulate
// had them before the others came, with one dash as well as with two.
type flagCommand struct {
	name, usage, short, long string
	flags                    *flag.FlagSet
	exec                     func(ctx context.Context, names []string) error
	stderr                   io.Writer
	// names are what is completed.
	names []string
}

func (f flagCommand) command() *cobra.Command {
	f.flags.SetOutput(io.Discard)
	f.flags.Usage = func() {}
	c := &cobra.Command{
		Use: f.name, Short: f.short, DisableFlagParsing: true,
		RunE: func(c *cobra.Command, args []string) error {
			names, err := namesBeforeFlags(f.flags, args)
			switch {
			case errors.Is(err, flag.ErrHelp):
				f.help()
				return nil
			case err != nil:
				return &usageError{fmt.Sprintf("%v; see gcctl %s --help", err, f.name)}
			}
			return f.exec(c.Context(), names)
		},
		ValidArgsFunction: f.complete,
	}
	c.SetHelpFunc(func(*cobra.Command, []string) { f.help() })
	return c
}

func (f flagCommand) help() {
	w := tabwriter.NewWriter(f.stderr, 0, 2, 2, ' ', 0)
	defer func() { _ = w.Flush() }()
	_, _ = fmt.Fprintf(w, "USAGE\n  %s\n\n%s\n\nFLAGS\n", f.usage, f.long)
	f.flags.VisitAll(func(one *flag.Flag) {
		value := one.DefValue
		if value == "" {
			value = "..."
		}
		_, _ = fmt.Fprintf(w, "  --%s %s\t%s\n", one.Name, value, one.Usage)
	})
	_, _ = fmt.Fprintln(w)
}

func (f flagCommand) complete(_ *cobra.Command, _ []string, begun string) (found []cobra.Completion, _ cobra.ShellCompDirective) {
	if !strings.HasPrefix(begun, "-") {
		for _, name := range f.names {
			if strings.HasPrefix(name, begun) {
				found = append(found, name)
			}
		}
		return found, cobra.ShellCompDirectiveDefault // The value of a flag may be a file.
	}
	f.flags.VisitAll(func(one *flag.Flag) {
		if name := "--" + one.Name; strings.HasPrefix(name, begun) {
			found = append(found, cobra.CompletionWithDesc(name, one.Usage))
		}
	})
	return found, cobra.ShellCompDirectiveNoFileComp
}

// namesBeforeFlags reads the flags that stand behind or between names.
func namesBeforeFlags(flags *flag.FlagSet, args []string) (names []string, err error) {
	for len(args) > 0 {
		if !strings.HasPrefix(args[0], "-") {
			names, args = append(names, args[0]), args[1:]
			continue
		}
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		args = flags.Args()
	}
	return names, nil
}

const rootHelp = `gcctl is the tool for those who run a Global Controller.

It speaks to the one that a context, a flag or the environment names (gcctl context --help), and without any to the stack
of gcctl dev on this machine. Colours are for terminals only; NO_COLOR and --color never are obeyed.

`

func rootCommand(p operate.Process) *cobra.Command {
	root := &cobra.Command{
		Use: "gcctl", Long: rootHelp + operate.ExitCodes, SilenceErrors: true, SilenceUsage: true, Args: cobra.ArbitraryArgs, Version: daemon.Version,
		Example: `  gcctl dev                                in one terminal, and in another
  gcctl fleet ls
  gcctl drain mc-eu-west-1-2 --dry-run
  gcctl doctor
  source <(gcctl completion bash)          completes commands, flags, states, regions and ids`,
	}
	root.RunE = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return operate.NoSuchCommand(c, args)
		}
		c.SetOut(p.Err)
		_ = c.Help()
		return errNoCommand
	}
	root.SetVersionTemplate("{{.Version}}\n") // As the command version.
	root.SetIn(p.In)
	root.SetOut(p.Out)
	root.SetErr(p.Err)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &usageError{fmt.Sprintf("%s; see %s --help", flagFault(err), c.CommandPath())}
	})
	root.AddGroup(operate.Groups()...)
	root.AddGroup(&cobra.Group{ID: "try", Title: "Try things out:"})
	root.AddCommand(operate.Commands(p)...)
	for _, c := range []*cobra.Command{devCommand(p.Out, p.Err).command(), simulateCommand(p.Out, p.Err).command()} {
		c.GroupID = "try"
		root.AddCommand(c)
	}
	root.AddCommand(versionCommand(p.Out))
	return root
}

// flagFault says what is wrong with a flag, without the words of the parser of numbers.
func flagFault(err error) string {
	var value *pflag.InvalidValueError
	if !errors.As(err, &value) {
		return err.Error()
	}
	allowed := map[string]string{"uint64": "a whole number, 0 or more", "int": "a whole number", "duration": "a duration such as 10s or 2m", "bool": "true or false"}
	if words, known := allowed[value.GetFlag().Value.Type()]; known {
		return fmt.Sprintf("--%s is %q: allowed is %s", value.GetFlag().Name, value.GetValue(), words)
	}
	return err.Error()
}

// errNoCommand is what gcctl ends with when it was only named: the help has been given.
var errNoCommand = errors.New("no command")
