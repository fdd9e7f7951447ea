package operatorcli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const rootHelp = `gcctl operates a Global Controller.

It connects to the Global Controller that a flag, the environment or a context names: see gcctl context --help. By default
it connects to the stack of gcctl dev on this machine. It uses colours in terminals only; NO_COLOR or "--color never" turns
them off.

`

// errNoCommand is returned when gcctl is started without a command; the help is printed instead of an error.
var errNoCommand = errors.New("no command")

// rootCommand returns gcctl with all of its commands.
func rootCommand(p Process) *cobra.Command {
	root := &cobra.Command{
		Use:           "gcctl",
		Long:          rootHelp + ExitCodesHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		Version:       p.Version,
		Example: `  gcctl dev                                # in one terminal, and in another:
  gcctl fleet ls
  gcctl drain mc-eu-west-1-2 --dry-run
  gcctl doctor
  source <(gcctl completion bash)          # complete commands, flags, states, regions and ids`,
	}

	root.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommandError(cmd, args)
		}
		cmd.SetOut(p.Err)
		_ = cmd.Help()
		return errNoCommand
	}

	root.SetVersionTemplate("{{.Version}}\n") // The same text as gcctl version.
	root.SetIn(p.In)
	root.SetOut(p.Out)
	root.SetErr(p.Err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError("%s; see %s --help", describeFlagError(err), cmd.CommandPath())
	})

	root.AddGroup(commandGroups()...)
	root.AddCommand(operatorCommands(p)...)
	root.AddCommand(devCommand(p), simulateCommand(p), versionCommand(p))
	return root
}

// The groups of commands in gcctl's help.
const (
	groupOperate = "operate"
	groupConnect = "connect"
	groupTry     = "try"
)

func commandGroups() []*cobra.Group {
	return []*cobra.Group{
		{ID: groupOperate, Title: "Operate a fleet:"},
		{ID: groupConnect, Title: "Connect:"},
		{ID: groupTry, Title: "Try things out:"},
	}
}

func versionCommand(p Process) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "print the version",
		Args:  cobra.ArbitraryArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(p.Out, p.Version)
			return err
		},
	}
}

// describeFlagError returns the text of an error about a flag, with the allowed values.
func describeFlagError(err error) string {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return err.Error()
	}

	flag := invalid.GetFlag()
	allowed := map[string]string{
		"bool":     "true or false",
		"duration": "a duration such as 10s or 2m",
		"int":      "a whole number",
		"uint64":   "a whole number, 0 or more",
	}
	if values, isKnown := allowed[flag.Value.Type()]; isKnown {
		return fmt.Sprintf("--%s is %q: allowed is %s", flag.Name, invalid.GetValue(), values)
	}
	return err.Error()
}
