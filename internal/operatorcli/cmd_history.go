package operatorcli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

const (
	usualHistory = 50
	longHistory  = 1000
	// followPause is how often the history is asked for more.
	followPause = time.Second
)

// historyOptions are the flags of history.
type historyOptions struct {
	id, region, since, until, output string
	limit                            int
	follow                           bool
}

func (t *tool) historyCommand() *cobra.Command {
	var o historyOptions
	c := &cobra.Command{
		Use: "history [ID]", Short: "show what has happened to the controllers", Args: arguments(0, 1, "the id of at most one controller"),
		Long: `history shows changes of the controllers' states, the newest last: from which state to which, the cause (register,
heartbeat, stale, operator, retired), who did it and why, how long the controller had not been heard, and what it had last
reported. "-" as a state means that the controller was not in the fleet.

It shows the last 50 changes, with --since the last 1000 since then, or what --limit says. A duration counts back from
now by the clock of the service. --follow stays and shows what comes, without leaving anything out, until it is
interrupted (exit code 130) or nothing reads its output any more (141); with -o json it prints an object a line.`,
		Example: `  gcctl history                                   the last 50 changes
  gcctl history mc-eu-west-1-2 --since 2h
  gcctl history --region eu-west-1 --since 2031-01-02T15:00:00Z --until 2031-01-02T16:00:00Z
  gcctl history --follow
  gcctl history --since 24h -o json | jq -r '.[] | select(.cause == "stale") | .controller_id' | sort | uniq -c`,
		ValidArgsFunction: t.completeOneController,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.id = args[0]
			}
			if !flagGiven(c, "limit") {
				o.limit = usualHistory
				if o.since != "" {
					o.limit = longHistory
				}
			}
			return t.history(c.Context(), o)
		},
	}
	c.Flags().StringVar(&o.region, "region", "", "only this `REGION`")
	c.Flags().StringVar(&o.since, "since", "", "only from `WHEN` on: a duration such as 2h, or a time such as 2031-01-02T15:04:05Z")
	c.Flags().StringVar(&o.until, "until", "", "only before `WHEN`, likewise")
	c.Flags().IntVar(&o.limit, "limit", 0, "at most `N`, the newest ones")
	c.Flags().BoolVarP(&o.follow, "follow", "f", false, "stay, and show what comes")
	outputFlag(c, &o.output, "json", "yaml")
	_ = c.RegisterFlagCompletionFunc("region", t.completeRegions)
	for _, name := range []string{"since", "until", "limit"} {
		_ = c.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
	return c
}

func (o *historyOptions) check() error {
	switch {
	case o.limit < 1 || o.limit > 1_000_000:
		return wrongUse("--limit is %d: allowed is 1 to 1000000", o.limit)
	case o.follow && o.until != "":
		return wrongUse("--follow shows what comes: it has no --until")
	case o.follow && o.output == "yaml":
		return wrongUse("--follow has no form yaml: -o json prints an object a line")
	}
	return form(o.output, "json", "yaml")
}

func (t *tool) history(ctx context.Context, o historyOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	s, err := t.open(false)
	if err != nil {
		return err
	}
	defer s.close()
	in := &pb.ListTransitionsRequest{ControllerId: o.id, Region: o.region}
	if in.Since, err = s.moment(ctx, "--since", o.since); err != nil {
		return err
	}
	if in.Until, err = s.moment(ctx, "--until", o.until); err != nil {
		return err
	}
	found, more, cursor, err := s.readNewest(ctx, in, o.limit)
	if err != nil {
		return err
	}
	if more && o.output == "" && (o.since != "" || t.OutTerminal) {
		t.note("older changes are left out: --limit and --since show more")
	}
	if !o.follow && o.output != "" {
		bodies := make([]transitionBody, 0, len(found))
		for _, transition := range found {
			bodies = append(bodies, transitionToBody(transition))
		}
		return writeAs(t.Out, o.output, bodies)
	}
	if o.follow {
		return t.runUntilReaderGone(ctx, func(ctx context.Context) error { return t.follow(ctx, s, o, found, cursor) })
	}
	if len(found) == 0 {
		t.note("nothing has happened that fits")
		return nil
	}
	return historyTable(found, true).write(t.Out, t.paint())
}

// readNewest reads the newest transitions, at most limit, and returns them with the oldest first. more reports whether there are
// older ones; later ones follow the cursor.
func (s *session) readNewest(
	ctx context.Context, in *pb.ListTransitionsRequest, limit int,
) (found []*pb.Transition, more bool, cursor string, err error) {
	in.NewestFirst = true
	for range maxPages {
		in.PageSize = uint32(min(most, limit-len(found)+1)) //nolint:gosec // At most 1000.
		page, err := read(ctx, s, in.GetControllerId(), in, s.fleet.ListTransitions)
		if err != nil {
			return nil, false, "", err
		}
		if cursor == "" {
			cursor = page.GetNextCursor()
		}
		found = append(found, page.GetTransitions()...)
		if in.Before = page.GetNextBefore(); in.Before == 0 || len(found) > limit {
			break
		}
	}
	more = len(found) > limit
	found = found[:min(limit, len(found))]
	slices.Reverse(found)
	return found, more, cursor, nil
}

// moment reads a time, or how long ago it was, by the clock of the store.
func (s *session) moment(ctx context.Context, flag, text string) (*timestamppb.Timestamp, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // Unset is what the request has for none.
	}
	at, ago, err := timeOrDuration(flag, text)
	if err != nil || ago == 0 {
		return timestamppb.New(at), err
	}
	page, err := read(ctx, s, "", &pb.ListControllersRequest{PageSize: 1}, s.fleet.ListControllers)
	if err != nil {
		return nil, err
	}
	now := s.tool.Now() // An empty fleet does not tell the time.
	if len(page.GetControllers()) > 0 && page.GetControllers()[0].GetAsOf() != nil {
		now = page.GetControllers()[0].GetAsOf().AsTime()
	}
	return timestamppb.New(now.Add(-ago)), nil
}

// timeOrDuration reads either. A duration is above 0.
func timeOrDuration(flag, text string) (time.Time, time.Duration, error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return time.Time{}, 0, wrongUse("%s is %q: allowed is a duration such as 30m or 2h, or a time such as 2031-01-02T15:04:05Z", flag, clean(text))
	}
	return time.Time{}, d, nil
}

// follow prints the found transitions, then new ones. Each request continues after the cursor of the last response, so none is
// missed. If the history was replaced, it prints a warning and starts again with the newest transitions.
func (t *tool) follow(ctx context.Context, s *session, o historyOptions, found []*pb.Transition, cursor string) error {
	if cursor == "" {
		return failed(ExitFailure, "the Global Controller is older than this gcctl and gives out no cursors: history --follow needs them")
	}
	isSilent := false
	for {
		if err := t.writeTransitions(found, o.output); err != nil {
			return err
		}
		if len(found) < most && !sleep(ctx, followPause) {
			return ErrInterrupted
		}

		in := &pb.ListTransitionsRequest{ControllerId: o.id, Region: o.region, PageSize: most, Cursor: &cursor}
		page, err := read(ctx, s, o.id, in, s.fleet.ListTransitions)
		gone := (*goneError)(nil)
		isReplaced := errors.As(err, &gone)
		if isReplaced {
			page, err = t.restartHistory(ctx, s, o)
		}
		switch {
		case ctx.Err() != nil:
			return ErrInterrupted
		case err != nil && CodeOf(err) != ExitUnavailable:
			return err
		case err != nil:
			if !isSilent {
				t.warn("%s; it is tried again", withoutAdvice(err))
			}
			isSilent, found = true, nil
			continue
		case isSilent:
			isSilent = false
			if !isReplaced {
				t.note("the Global Controller answers again; nothing was left out")
			}
		}
		found, cursor = page.GetTransitions(), page.GetNextCursor()
	}
}

// restartHistory returns the newest transitions of a history to which the cursor does not belong.
func (t *tool) restartHistory(ctx context.Context, s *session, o historyOptions) (*pb.ListTransitionsResponse, error) {
	t.warn("the history was replaced, as by a restored backup, or the next changes have been pruned; " +
		"the newest changes follow, including those already shown")
	found, _, cursor, err := s.readNewest(ctx, &pb.ListTransitionsRequest{ControllerId: o.id, Region: o.region}, o.limit)
	return &pb.ListTransitionsResponse{Transitions: found, NextCursor: cursor}, err
}

// writeTransitions writes each on a line of its own, in columns that are as wide as they usually have to be.
func (t *tool) writeTransitions(found []*pb.Transition, output string) error {
	for _, transition := range found {
		if output == "json" {
			if err := writeLine(t.Out, transitionToBody(transition)); err != nil {
				return err
			}
			continue
		}
		if _, err := io.WriteString(t.Out, transitionLine(transition, t.paint())+"\n"); err != nil {
			return err
		}
	}
	return nil
}

func transitionLine(x *pb.Transition, p painter) string {
	from, to := dash(healthWord(x.GetFrom())), dash(healthWord(x.GetTo()))
	change := p.paint(stateStyle(from), from) + " → " + p.paint(stateStyle(to), to) + strings.Repeat(" ", max(0, 21-len(from)-len(to)-3))
	line := fmt.Sprintf("%s  %-20s  %-12s  %s  %-9s", instant(x.GetAt().AsTime()), clean(x.GetControllerId()), clean(x.GetRegion()), change, clean(x.GetCause()))
	return strings.TrimRight(line+"  "+clean(why(x)), " ")
}

// why is who did it, the reason, and what else there is to know.
func why(x *pb.Transition) string {
	var parts []string
	if x.GetActor() != "" {
		parts = append(parts, "by "+x.GetActor())
	}
	if x.GetReason() != "" {
		parts = append(parts, x.GetReason())
	}
	if x.GetCause() == "stale" || x.GetCause() == "retired" {
		parts = append(parts, fmt.Sprintf("silent for %s", age(milliseconds(x.GetSilenceMs()))))
	}
	if reported := healthWord(x.GetReportedHealth()); reported != "" && reported != healthWord(x.GetTo()) {
		parts = append(parts, "reports "+reported)
	}
	return strings.Join(parts, ", ")
}

// historyTable has the columns of the history; one controller needs no id and region.
func historyTable(found []*pb.Transition, several bool) *table {
	head := []string{"TIME", "ID", "REGION", "FROM", "", "TO", "CAUSE", "ACTOR", "SILENT", "REPORTED", "REASON"}
	if !several {
		head = slices.Delete(head, 1, 3)
	}
	t := newTable(nil, head...)
	for _, x := range found {
		from, to := dash(healthWord(x.GetFrom())), dash(healthWord(x.GetTo()))
		row := cells(instant(x.GetAt().AsTime()), x.GetControllerId(), x.GetRegion(), from, "→", to, x.GetCause(), dash(x.GetActor()),
			age(milliseconds(x.GetSilenceMs())), dash(healthWord(x.GetReportedHealth())), x.GetReason())
		row[3].style, row[5].style = stateStyle(from), stateStyle(to)
		if !several {
			row = slices.Delete(row, 1, 3)
		}
		t.add(row...)
	}
	return t
}
