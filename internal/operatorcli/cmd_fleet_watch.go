package operatorcli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// minRedrawInterval limits how often loads alone redraw the table.
const minRedrawInterval = 250 * time.Millisecond

// fleetWatch prints a watch of the fleet, as a table that is redrawn or as lines.
type fleetWatch struct {
	cli     *cli
	options fleetListOptions
	view    *fleetView
	// isRedrawn is set if the output is a table that is redrawn.
	isRedrawn bool
	// connectionErr is set while the watch is interrupted.
	connectionErr error
	drawnLines    int
	drawnAt       time.Time
	// storeTime is the latest time of the store's clock, and storeTimeAt the time on this machine's clock when it arrived.
	storeTime   time.Time
	storeTimeAt time.Time
}

func (c *cli) watchFleet(ctx context.Context, conn *connection, o fleetListOptions) error {
	f := &fleetWatch{cli: c, options: o, view: newFleetView(), isRedrawn: c.OutTerminal && o.output != "json"}
	w := &watcher{
		conn:               conn,
		wantsLoads:         f.isRedrawn,
		onResponse:         f.onResponse,
		onConnectionChange: f.onConnectionChange,
		onIdle:             f.onIdle,
	}
	if f.isRedrawn {
		// Lines need a watch of all regions: only that resumes without gaps after the server has restarted.
		w.region = o.region
	}
	return w.run(ctx)
}

func (f *fleetWatch) onResponse(response *pb.WatchResponse) error {
	wasComplete := f.view.isComplete
	events := f.view.apply(response)
	if f.view.asOf.After(f.storeTime) {
		f.storeTime, f.storeTimeAt = f.view.asOf, time.Now()
	}

	isFirst := !wasComplete && f.view.isComplete
	if f.isRedrawn {
		if f.view.isComplete && (isFirst || len(events) > 0 || time.Since(f.drawnAt) >= minRedrawInterval) {
			return f.drawTable()
		}
		return nil
	}
	if isFirst && f.options.output != "json" {
		return f.printLine("%s", summarizeStates(f.selectControllers()))
	}

	sortSnapshotEvents(events)
	for _, e := range events {
		if err := f.printEvent(e); err != nil {
			return err
		}
	}
	return nil
}

// sortSnapshotEvents sorts the events of a snapshot by id. Transitions keep their order.
func sortSnapshotEvents(events []fleetEvent) {
	slices.SortStableFunc(events, func(a, b fleetEvent) int {
		if a.transition != nil || b.transition != nil || a.kind == eventResync || b.kind == eventResync {
			return 0
		}
		return cmp.Compare(a.id, b.id)
	})
}

// selectControllers returns the controllers that the filter selects, in the order of --sort.
func (f *fleetWatch) selectControllers() []*pb.Controller {
	var selected []*pb.Controller
	for _, c := range f.view.controllers {
		if f.options.matches(c) {
			selected = append(selected, c)
		}
	}
	sortControllers(selected, f.options.sort)
	return selected
}

func (f *fleetWatch) onConnectionChange(err error) {
	f.connectionErr = err
	switch {
	case f.isRedrawn:
		_ = f.drawTable()
	case err != nil:
		f.cli.warn("%s; retrying", withoutAdvice(err))
	default:
		f.cli.note("the Global Controller is available again")
	}
}

// onIdle redraws the table, because the ages in it have changed.
func (f *fleetWatch) onIdle() error {
	if f.isRedrawn && f.view.isComplete {
		return f.drawTable()
	}
	return nil
}

// drawTable replaces the table in the terminal. It leaves out rows that do not fit, because rows that have scrolled away cannot be
// replaced.
func (f *fleetWatch) drawTable() error {
	columns, height := f.cli.Size()
	p := f.cli.painter()
	selected := f.selectControllers()

	title := "as of " + formatTime(f.view.asOf) + "  " + summarizeStates(selected) + "  (Ctrl-C ends)"
	lines := []string{p.paint(dim, cutTo(title, columns))}
	if problem := f.describeProblem(); problem != "" {
		lines = append(lines, p.paint(red, cutTo(problem, columns)))
	}

	rows := fleetTable(selected, f.options.output == "wide", f.view.asOf).lines(p, columns)
	if room := max(1, height-2-len(lines)); len(rows) > room {
		hidden := fmt.Sprintf("… and %d more; select with filters, or order with --sort", len(rows)-room)
		rows = append(rows[:room:room], p.paint(dim, cutTo(hidden, columns)))
	}
	lines = append(lines, rows...)

	var b strings.Builder
	if f.drawnLines > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", f.drawnLines)
	}
	b.WriteString("\r\x1b[J" + strings.Join(lines, "\n") + "\n")
	f.drawnLines, f.drawnAt = len(lines), time.Now()
	_, err := io.WriteString(f.cli.Out, b.String())
	return err
}

// describeProblem returns why the table may be out of date; empty if it is not.
func (f *fleetWatch) describeProblem() string {
	age := time.Since(f.storeTimeAt)
	switch {
	case f.connectionErr != nil:
		return withoutAdvice(f.connectionErr) + "; retrying"
	case age > maxWatchSilence:
		return "no data from the store for " + formatAge(age)
	}
	return ""
}

func (f *fleetWatch) printLine(format string, values ...any) error {
	_, err := fmt.Fprintf(f.cli.Out, "%s  %s\n", formatTime(f.view.asOf), fmt.Sprintf(format, values...))
	return err
}

// eventBody is a line of --watch -o json.
type eventBody struct {
	Event        string          `json:"event"`
	AsOf         time.Time       `json:"as_of"`
	ControllerID string          `json:"controller_id,omitempty"`
	Reason       string          `json:"reason,omitempty"`
	Controller   *controllerBody `json:"controller"`
	Transition   *transitionBody `json:"transition"`
}

func eventToBody(e fleetEvent, asOf time.Time) eventBody {
	body := eventBody{Event: e.kind, AsOf: asOf, ControllerID: e.id, Reason: e.reason}
	if e.after != nil {
		controller := controllerToBody(e.after)
		body.Controller = &controller
	}
	if e.transition != nil {
		transition := transitionToBody(e.transition)
		body.Transition = &transition
	}
	return body
}

// printEvent prints an event if the filter selects the controller, before or after it.
func (f *fleetWatch) printEvent(e fleetEvent) error {
	isSelected := f.options.matches(e.before) || f.options.matches(e.after) || f.options.matchesTransition(e.transition)
	if e.kind != eventResync && !isSelected {
		return nil
	}

	switch {
	case f.options.output == "json":
		return writeLine(f.cli.Out, eventToBody(e, f.view.asOf))
	case e.kind == eventResync:
		return f.printLine("changes may have been missed (%s); the differences follow", clean(e.reason))
	case e.transition != nil:
		_, err := io.WriteString(f.cli.Out, transitionLine(e.transition, f.cli.painter())+"\n")
		return err
	}
	region := cmp.Or(e.after, e.before).GetRegion()
	return f.printLine("%-20s  %-12s  %s", clean(e.id), clean(region), clean(describeChange(e)))
}

// describeChange describes a change that has no transition.
func describeChange(e fleetEvent) string {
	before, after := healthWord(e.before.GetHealth()), healthWord(e.after.GetHealth())
	switch {
	case e.kind == eventRemoved:
		return before + " → -"
	case e.kind == eventAdded:
		return "- → " + after
	case before != after:
		return before + " → " + after
	}

	notes := controllerNotes(e.after)
	if note := describeRegistrationChange(e.before, e.after); note != "" {
		notes = append(notes, note)
	}
	if e.before.GetDrain() != nil && e.after.GetDrain() == nil {
		notes = append(notes, "drain ended")
	}
	return after + "  " + strings.Join(notes, "; ")
}

// describeRegistrationChange returns the most important difference between two registrations of a controller; empty if there is
// none.
func describeRegistrationChange(before, after *pb.Controller) string {
	hasMoved := before.GetGrpcEndpoint() != after.GetGrpcEndpoint() ||
		before.GetWebtransportEndpoint() != after.GetWebtransportEndpoint() ||
		before.GetRegion() != after.GetRegion()
	hasOtherLimits := before.GetMaxMeetings() != after.GetMaxMeetings() || before.GetMaxParticipants() != after.GetMaxParticipants()

	switch {
	case hasMoved:
		return "registered again at " + after.GetGrpcEndpoint()
	case hasOtherLimits:
		return fmt.Sprintf("limits are now %d meetings and %d participants", after.GetMaxMeetings(), after.GetMaxParticipants())
	case before.GetIncarnation() != after.GetIncarnation():
		return "new process: " + orDash(after.GetIncarnation())
	case before.GetReportedHealth() != after.GetReportedHealth():
		return "reports " + healthWord(after.GetReportedHealth())
	}
	return ""
}
