package operatorcli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// writeUsage writes the usage of a command. It lists the command's own flags separately from the connection flags, which all
// commands share.
func writeUsage(cmd *cobra.Command) error {
	var b strings.Builder
	line := cmd.UseLine()
	if cmd.HasAvailableSubCommands() {
		line = cmd.CommandPath() + " COMMAND"
	}
	fmt.Fprintf(&b, "Usage:\n  %s\n", line)
	if cmd.HasExample() {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", cmd.Example)
	}

	if cmd.HasAvailableSubCommands() {
		b.WriteString("\nCommands:\n")
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				fmt.Fprintf(&b, "  %-8s %s\n", sub.Name(), sub.Short)
			}
		}
	}

	shared := connectionFlagSet(cmd)
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if shared.Lookup(f.Name) == nil {
			own.AddFlag(f)
		}
	})
	fmt.Fprintf(&b, "\nFlags:\n%s\nConnection:\n%s", own.FlagUsages(), shared.FlagUsages())

	_, err := fmt.Fprint(cmd.OutOrStderr(), b.String())
	return err
}

// connectionFlagSet returns the flags of [cli.addConnectionFlags], which belong to the top-level command.
func connectionFlagSet(cmd *cobra.Command) *pflag.FlagSet {
	for cmd.HasParent() && cmd.Parent().HasParent() {
		cmd = cmd.Parent()
	}
	return cmd.PersistentFlags()
}
