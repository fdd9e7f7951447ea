package operatorcli

import "github.com/spf13/cobra"

func (c *cli) fleetCommand() *cobra.Command {
	return commandGroup("fleet", "show the controllers", "fleet shows all controllers, or one of them.",
		"  gcctl fleet ls\n  gcctl fleet show mc-eu-west-1-2",
		c.fleetListCommand(), c.fleetShowCommand())
}
