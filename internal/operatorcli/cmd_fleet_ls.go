package operatorcli

import (
	"context"
	"time"

	"github.com/spf13/cobra"
)

const fleetListHelp = `ls lists the controllers of the fleet.

LAST HEARTBEAT is the time since the last heartbeat, by the clock of the store; the clock of this machine has no effect.
-o json prints an array of the objects that the HTTP API returns under /api/v1/controllers.

--watch keeps the table up to date in a terminal. Elsewhere it prints a line for each change, and with -o json an object
{"event", "as_of", "controller_id", "reason", "controller", "transition"}. The event is present (at the start), added,
changed, removed or resync. After resync, changes may have been missed, and the differences follow. --watch ends with an
interrupt (exit code 130), or when the reader of its output closes it (141).`

// fleetListOptions are the flags of fleet ls.
type fleetListOptions struct {
	fleetFilter

	output string
	sort   string
	watch  bool
}

func (c *cli) fleetListCommand() *cobra.Command {
	var o fleetListOptions
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "list the controllers",
		Long:    fleetListHelp,
		Example: `  gcctl fleet ls
  gcctl fleet ls --region eu-west-1 --state healthy,degraded
  gcctl fleet ls --accepts-meetings --sort -meetings   # the fullest first
  gcctl fleet ls --id 'mc-eu-*' -o wide                # with endpoints and more
  gcctl fleet ls --watch --draining                    # the progress of drains
  gcctl fleet ls -o json | jq -r '.[] | select(.stale) | .controller_id'`,
		Args: requireArgs(0, 0, "no arguments (select controllers with --id)"),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.listFleet(cmd.Context(), o) },
	}

	o.addFlags(c, cmd)
	addOutputFlag(cmd, &o.output, "json", "yaml", "wide")
	cmd.Flags().StringVar(&o.sort, "sort", "id", "sort by `WORD`: "+joinOr(sortWords())+"; -WORD sorts in descending order")
	cmd.Flags().BoolVarP(&o.watch, "watch", "w", false, "keep running, and show changes")
	_ = cmd.RegisterFlagCompletionFunc("sort", completeWords(sortWords()...))
	return cmd
}

func (o *fleetListOptions) check() error {
	if err := o.fleetFilter.check(); err != nil {
		return err
	}
	if err := checkSortWord(o.sort); err != nil {
		return err
	}
	if o.watch && o.output == "yaml" {
		return usageError("--watch does not support -o yaml: use -o json, which prints one object per line")
	}
	return checkOutputFormat(o.output, "json", "yaml", "wide")
}

func (c *cli) listFleet(ctx context.Context, o fleetListOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	conn, err := c.connect(false)
	if err != nil {
		return err
	}
	defer conn.close()

	if o.watch {
		return c.runUntilOutputClosed(ctx, func(ctx context.Context) error { return c.watchFleet(ctx, conn, o) })
	}

	controllers, err := conn.listControllers(ctx, o.region, o.serverHealth())
	if err != nil {
		return err
	}
	controllers = o.selectFrom(controllers)
	sortControllers(controllers, o.sort)
	if o.output == "json" || o.output == "yaml" {
		return writeAs(c.Out, o.output, toBodies(controllers, controllerToBody))
	}

	if len(controllers) > 0 {
		if err := fleetTable(controllers, o.output == "wide", time.Time{}).write(c.Out, c.painter()); err != nil {
			return err
		}
	}
	if c.OutTerminal || len(controllers) == 0 {
		c.note("%s", summarizeStates(controllers))
	}
	return nil
}
