package operatorcli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// listOptions are the flags of fleet ls.
type listOptions struct {
	filter
	output, sort string
	watch        bool
}

func (t *tool) fleetCommand() *cobra.Command {
	return group("fleet", "look at the controllers", "fleet shows the controllers, all of them or one.", "  gcctl fleet ls\n  gcctl fleet show mc-eu-west-1-2",
		t.listCommand(), t.showCommand())
}

func (t *tool) listCommand() *cobra.Command {
	var o listOptions
	c := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "list the controllers", Args: arguments(0, 0, "no arguments: --id picks controllers"),
		Long: `ls lists the controllers of the fleet.

HEARD is how long ago a controller was last heard, by the clock of the store: the clock of this machine plays no part.
-o json prints an array of what the HTTP API has under /api/v1/controllers.

With --watch the table is drawn anew as the fleet changes. Where it cannot be, each change is a line; with -o json each is
one object: {"event", "as_of", "controller_id", "controller", "transition"}, where event is present (at the start),
added, changed, removed, or resync, when it is not known what was missed; what has changed meanwhile follows it. --watch
ends with an interrupt, and the exit code 130.`,
		Example: `  gcctl fleet ls                                  everything
  gcctl fleet ls --region eu-west-1 --state healthy,degraded
  gcctl fleet ls --placeable --sort -meetings     those that take meetings, the fullest first
  gcctl fleet ls --id 'mc-eu-*' -o wide           with endpoints and more
  gcctl fleet ls --watch --draining               how a drain goes on
  gcctl fleet ls -o json | jq -r '.[] | select(.stale) | .controller_id'`,
		RunE: func(c *cobra.Command, _ []string) error { return t.list(c.Context(), o) },
	}
	o.addFlags(t, c)
	outputFlag(c, &o.output, "json", "yaml", "wide")
	c.Flags().StringVar(&o.sort, "sort", "id", "by `WORD`: "+joinOr(sortWords())+"; with a - in front the highest first")
	c.Flags().BoolVarP(&o.watch, "watch", "w", false, "stay, and show what changes")
	_ = c.RegisterFlagCompletionFunc("sort", words(sortWords()...))
	return c
}

func (o *listOptions) checkAll() error {
	if err := o.check(); err != nil {
		return err
	}
	if err := checkSort(o.sort); err != nil {
		return err
	}
	if o.watch {
		if o.output == "yaml" {
			return wrongUse("--watch has no form yaml: -o json prints an object a line")
		}
	}
	return form(o.output, "json", "yaml", "wide")
}

func (t *tool) list(ctx context.Context, o listOptions) error {
	if err := o.checkAll(); err != nil {
		return err
	}
	s, err := t.open(false)
	if err != nil {
		return err
	}
	defer s.close()
	if o.watch {
		return t.runUntilReaderGone(ctx, func(ctx context.Context) error { return t.watchFleet(ctx, s, o) })
	}
	found, err := s.controllers(ctx, o.region, o.health())
	if err != nil {
		return err
	}
	found = o.pick(found)
	order(found, o.sort)
	if o.output == "json" || o.output == "yaml" {
		bodies := make([]controllerBody, 0, len(found))
		for _, c := range found {
			bodies = append(bodies, controllerToBody(c))
		}
		return writeAs(t.Out, o.output, bodies)
	}
	if len(found) > 0 {
		if err := fleetTable(found, o.output == "wide", time.Time{}).write(t.Out, t.paint()); err != nil {
			return err
		}
	}
	if t.OutTerminal || len(found) == 0 {
		t.note("%s", tally(found))
	}
	return nil
}

func (t *tool) showCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use: "show ID", Short: "show one controller, and why it can or cannot be given a meeting", Args: arguments(1, 1, "the id of a controller"),
		Long: `show tells all that is known about a controller: every reason why it cannot be given a meeting, the drain and who ordered
it, and the last changes of its state.`,
		Example: `  gcctl fleet show mc-eu-west-1-2
  gcctl fleet show mc-eu-west-1-2 -o json | jq .placement.reasons`,
		ValidArgsFunction: t.completeOneController,
		RunE:              func(c *cobra.Command, args []string) error { return t.show(c.Context(), args[0], output) },
	}
	outputFlag(c, &output, "json", "yaml")
	return c
}

func (t *tool) show(ctx context.Context, id, output string) error {
	if err := form(output, "json", "yaml"); err != nil {
		return err
	}
	s, err := t.open(false)
	if err != nil {
		return err
	}
	defer s.close()
	got, err := read(ctx, s, id, &pb.GetControllerRequest{ControllerId: id}, s.fleet.GetController)
	if err != nil {
		return err
	}
	if output != "" {
		return writeAs(t.Out, output, controllerToBody(got.GetController()))
	}
	history, err := read(ctx, s, id, &pb.ListTransitionsRequest{ControllerId: id, PageSize: shownTransitions, NewestFirst: true}, s.fleet.ListTransitions)
	if err != nil {
		return err
	}
	return t.writeController(got.GetController(), history.GetTransitions())
}
