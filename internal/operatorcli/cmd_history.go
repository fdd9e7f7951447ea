package operatorcli

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// How many transitions history shows by default, without and with --since.
const (
	defaultHistoryLimit = 50
	defaultSinceLimit   = 1000
)

const historyHelp = `history shows transitions: changes of the controllers' states, the newest last. It prints the states before and
after, the cause (register, heartbeat, stale, operator, retired), the actor and the reason. SILENT is the time since the last
heartbeat, and REPORTED the state that the controller last reported. "-" as a state means that the controller was not in
the fleet.

By default, history shows the last 50 transitions; with --since, the last 1000 of the period. --limit sets another number. A
duration counts back from the present time on the clock of the service.

--follow keeps running and prints new transitions without gaps, across restarts of the service. It ends with an interrupt
(exit code 130), or when the reader of its output closes it (141). With -o json it prints one object per line.`

// historyOptions are the flags of history.
type historyOptions struct {
	id     string
	region string
	since  string
	until  string
	output string
	limit  int
	follow bool
}

func (c *cli) historyCommand() *cobra.Command {
	var o historyOptions
	cmd := &cobra.Command{
		Use:   "history [ID]",
		Short: "show the transitions of the controllers' states",
		Long:  historyHelp,
		Example: `  gcctl history                                   # the last 50 transitions
  gcctl history mc-eu-west-1-2 --since 2h
  gcctl history --region eu-west-1 --since 2031-01-02T15:00:00Z --until 2031-01-02T16:00:00Z
  gcctl history --follow
  gcctl history --since 24h -o json | jq -r '.[] | select(.cause == "stale") | .controller_id' | sort | uniq -c`,
		Args:              requireArgs(0, 1, "at most one controller id"),
		ValidArgsFunction: c.completeOneController,
	}

	f := cmd.Flags()
	f.StringVar(&o.region, "region", "", "only this `REGION`")
	f.StringVar(&o.since, "since", "", "only from `WHEN` on: a duration such as 2h, or a time such as 2031-01-02T15:04:05Z")
	f.StringVar(&o.until, "until", "", "only before `WHEN`: a duration or a time")
	f.IntVar(&o.limit, "limit", 0, "at most `N` transitions, the newest (default 50; 1000 with --since)")
	f.BoolVarP(&o.follow, "follow", "f", false, "keep running, and show new transitions")
	addOutputFlag(cmd, &o.output, "json", "yaml")
	_ = cmd.RegisterFlagCompletionFunc("region", c.completeRegions)
	disableFileCompletion(cmd, "since", "until", "limit")

	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			o.id = args[0]
		}

		if !cmd.Flags().Changed("limit") {
			o.limit = defaultHistoryLimit
			if o.since != "" {
				o.limit = defaultSinceLimit
			}
		}
		return c.history(cmd.Context(), o)
	}
	return cmd
}

func (o *historyOptions) check() error {
	switch {
	case o.limit < 1 || o.limit > 1_000_000:
		return usageError("--limit is %d: allowed is 1 to 1000000", o.limit)
	case o.follow && o.until != "":
		return usageError("--follow and --until cannot be combined")
	case o.follow && o.output == "yaml":
		return usageError("--follow does not support -o yaml: use -o json, which prints one object per line")
	}
	return checkOutputFormat(o.output, "json", "yaml")
}

func (c *cli) history(ctx context.Context, o historyOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	conn, err := c.connect(false)
	if err != nil {
		return err
	}
	defer conn.close()

	in := &pb.ListTransitionsRequest{ControllerId: o.id, Region: o.region}
	if in.Since, err = conn.resolveTime(ctx, "--since", o.since); err != nil {
		return err
	}
	if in.Until, err = conn.resolveTime(ctx, "--until", o.until); err != nil {
		return err
	}
	newest, err := conn.readNewest(ctx, in, o.limit)
	if err != nil {
		return err
	}

	if newest.hasOlder && o.output == "" && (o.since != "" || c.OutTerminal) {
		c.note("older transitions are left out: show more with --limit and --since")
	}

	switch {
	case o.follow:
		return c.runUntilOutputClosed(ctx, func(ctx context.Context) error { return c.followHistory(ctx, conn, o, newest) })
	case o.output != "":
		return writeAs(c.Out, o.output, toBodies(newest.transitions, transitionToBody))
	case len(newest.transitions) == 0:
		c.note("no matching transitions")
		return nil
	}
	return transitionTable(newest.transitions, true).write(c.Out, c.painter())
}

// historyPage is a part of the history, oldest first.
type historyPage struct {
	transitions []*pb.Transition
	// hasOlder is set if there are older transitions that match.
	hasOlder bool
	// nextCursor is the position after the newest one; empty if the server sends none.
	nextCursor string
}

// readNewest reads the newest transitions that match, at most limit.
func (conn *connection) readNewest(ctx context.Context, in *pb.ListTransitionsRequest, limit int) (newest historyPage, err error) {
	in.NewestFirst = true
	for range maxPages {
		// One more than the limit shows whether there are older ones.
		in.PageSize = uint32(min(maxPageSize, limit-len(newest.transitions)+1)) //nolint:gosec // At most 1000.
		page, err := readWithRetry(ctx, conn, in.GetControllerId(), in, conn.fleet.ListTransitions)
		if err != nil {
			return historyPage{}, err
		}

		if newest.nextCursor == "" {
			newest.nextCursor = page.GetNextCursor()
		}
		newest.transitions = append(newest.transitions, page.GetTransitions()...)
		if in.Before = page.GetNextBefore(); in.Before == 0 || len(newest.transitions) > limit {
			break
		}
	}

	newest.hasOlder = len(newest.transitions) > limit
	newest.transitions = newest.transitions[:min(limit, len(newest.transitions))]
	slices.Reverse(newest.transitions)
	return newest, nil
}

// resolveTime returns the time of a flag: a time, or a duration before the present time of the store's clock. It returns nil for
// an empty text.
func (conn *connection) resolveTime(ctx context.Context, flag, text string) (*timestamppb.Timestamp, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // The request has nil for no limit.
	}
	at, ago, err := parseTimeOrDuration(flag, text)
	if err != nil {
		return nil, err
	}
	if ago == 0 {
		return timestamppb.New(at), nil
	}

	page, err := readWithRetry(ctx, conn, "", &pb.ListControllersRequest{PageSize: 1}, conn.fleet.ListControllers)
	if err != nil {
		return nil, err
	}
	now := conn.cli.Now() // The response for an empty fleet has no time.
	if controllers := page.GetControllers(); len(controllers) > 0 && controllers[0].GetAsOf() != nil {
		now = controllers[0].GetAsOf().AsTime()
	}
	return timestamppb.New(now.Add(-ago)), nil
}

// parseTimeOrDuration parses either. A duration is above 0; it is 0 if the text is a time.
func parseTimeOrDuration(flag, text string) (time.Time, time.Duration, error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return time.Time{}, 0, usageError("%s is %q: allowed is a duration such as 30m or 2h, or a time such as 2031-01-02T15:04:05Z",
			flag, clean(text))
	}
	return time.Time{}, d, nil
}
