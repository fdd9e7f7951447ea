package operatorcli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// usage is how a command is used: its own flags apart from those that tell where to go, which all commands share.
func usage(c *cobra.Command) error {
	var b strings.Builder
	line := c.UseLine()
	if c.HasAvailableSubCommands() {
		line = c.CommandPath() + " COMMAND"
	}
	fmt.Fprintf(&b, "Usage:\n  %s\n", line)
	if c.HasExample() {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", c.Example)
	}
	if c.HasAvailableSubCommands() {
		b.WriteString("\nCommands:\n")
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				fmt.Fprintf(&b, "  %-8s %s\n", sub.Name(), sub.Short)
			}
		}
	}
	shared := connectionFlags(c)
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if shared.Lookup(f.Name) == nil {
			own.AddFlag(f)
		}
	})
	fmt.Fprintf(&b, "\nFlags:\n%s\nConnection:\n%s", own.FlagUsages(), shared.FlagUsages())
	_, err := fmt.Fprint(c.OutOrStderr(), b.String())
	return err
}

// connectionFlags are those of [tool.addFlags].
func connectionFlags(c *cobra.Command) *pflag.FlagSet {
	for c.HasParent() && c.Parent().HasParent() {
		c = c.Parent()
	}
	return c.PersistentFlags()
}
