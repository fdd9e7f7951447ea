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

// redrawPause is how often a table is drawn at most.
const redrawPause = 250 * time.Millisecond

// fleetWatch shows a watch of the fleet: a table that is drawn anew, or lines.
type fleetWatch struct {
	tool    *tool
	options listOptions
	view    *view
	redraw  bool
	trouble error
	drawn   int
	drawnAt time.Time
	// asOfAt is when asOf last moved, by the clock of this machine.
	asOf   time.Time
	asOfAt time.Time
}

func (t *tool) watchFleet(ctx context.Context, s *session, o listOptions) error {
	f := &fleetWatch{tool: t, options: o, view: newView(), redraw: t.OutTerminal && o.output != "json"}
	region := o.region
	if !f.redraw {
		region = "" // Of one region a watch cannot tell what was missed over a restart.
	}
	w := &watcher{session: s, region: region, loads: f.redraw, on: f.take, trouble: f.broke, idle: f.tick}
	return w.run(ctx)
}

func (f *fleetWatch) take(response *pb.WatchResponse) error {
	first := !f.view.whole
	events := f.view.take(response)
	if f.view.asOf.After(f.asOf) {
		f.asOf, f.asOfAt = f.view.asOf, time.Now()
	}
	if f.redraw {
		if !f.view.whole {
			return nil
		}
		if len(events) > 0 || first || time.Since(f.drawnAt) >= redrawPause {
			return f.draw()
		}
		return nil
	}
	slices.SortStableFunc(events, func(a, b event) int { // Of a snapshot; changes have their order.
		if a.transition != nil || b.transition != nil || a.kind == eventResync || b.kind == eventResync {
			return 0
		}
		return cmp.Compare(a.id, b.id)
	})
	if first && f.view.whole && f.options.output != "json" {
		if err := f.line("%s", tally(f.shown())); err != nil {
			return err
		}
		events = nil
	}
	for _, e := range events {
		if err := f.tell(e); err != nil {
			return err
		}
	}
	return nil
}

func (f *fleetWatch) shown() []*pb.Controller {
	var found []*pb.Controller
	for _, c := range f.view.fleet {
		if f.options.matches(c) {
			found = append(found, c)
		}
	}
	order(found, f.options.sort)
	return found
}

func (f *fleetWatch) broke(err error) {
	f.trouble = err
	switch {
	case f.redraw:
		_ = f.draw()
	case err != nil:
		f.tool.warn("%s; it is tried again", withoutAdvice(err))
	default:
		f.tool.note("the Global Controller answers again")
	}
}

// tick draws the table anew when only its age has changed.
func (f *fleetWatch) tick() error {
	if f.redraw && f.view.whole {
		return f.draw()
	}
	return nil
}

// draw replaces what was drawn before. What does not fit is left out: what has scrolled away cannot be replaced.
func (f *fleetWatch) draw() error {
	columns, height := f.tool.Size()
	shown, p := f.shown(), f.tool.paint()
	lines := []string{p.paint(dim, cutTo("as of "+instant(f.view.asOf)+"  "+tally(shown)+"  (Ctrl-C ends)", columns))}
	switch {
	case f.trouble != nil:
		lines = append(lines, p.paint(red, cutTo(withoutAdvice(f.trouble)+"; it is tried again", columns)))
	case time.Since(f.asOfAt) > quietFor:
		lines = append(lines, p.paint(red, cutTo("the store has not been heard for "+age(time.Since(f.asOfAt)), columns)))
	}
	rows := fleetTable(shown, f.options.output == "wide", f.view.asOf).lines(p, columns)
	if room := max(1, height-2-len(lines)); len(rows) > room {
		hidden := len(rows) - room
		rows = append(rows[:room:room], p.paint(dim, cutTo(fmt.Sprintf("… and %d more; filters and --sort choose which", hidden), columns)))
	}
	lines = append(lines, rows...)
	var b strings.Builder
	if f.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", f.drawn)
	}
	b.WriteString("\r\x1b[J" + strings.Join(lines, "\n") + "\n")
	f.drawn, f.drawnAt = len(lines), time.Now()
	_, err := io.WriteString(f.tool.Out, b.String())
	return err
}

func (f *fleetWatch) line(format string, values ...any) error {
	_, err := fmt.Fprintf(f.tool.Out, "%s  %s\n", instant(f.view.asOf), fmt.Sprintf(format, values...))
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

// tell tells an event that concerns what the filter picks, before or after.
func (f *fleetWatch) tell(e event) error {
	if e.kind != eventResync && !f.options.matches(e.before) && !f.options.matches(e.after) && !f.options.matchesTransition(e.transition) {
		return nil
	}
	if f.options.output == "json" {
		body := eventBody{Event: e.kind, AsOf: f.view.asOf, ControllerID: e.id, Reason: e.reason}
		if e.after != nil {
			c := controllerToBody(e.after)
			body.Controller = &c
		}
		if e.transition != nil {
			transition := transitionToBody(e.transition)
			body.Transition = &transition
		}
		return writeLine(f.tool.Out, body)
	}
	switch {
	case e.kind == eventResync:
		return f.line("what was missed is not known (%s); what has changed meanwhile follows", clean(e.reason))
	case e.transition != nil:
		_, err := io.WriteString(f.tool.Out, transitionLine(e.transition, f.tool.paint())+"\n")
		return err
	}
	return f.line("%-20s  %-12s  %s", clean(e.id), clean(regionOf(e)), clean(whatChanged(e)))
}

func regionOf(e event) string {
	if e.after != nil {
		return e.after.GetRegion()
	}
	return e.before.GetRegion()
}

// whatChanged is for changes that are in no history.
func whatChanged(e event) string {
	before, after := healthWord(e.before.GetHealth()), healthWord(e.after.GetHealth())
	switch {
	case e.kind == eventRemoved:
		return before + " → -"
	case e.kind == eventAdded:
		return "- → " + after
	case before != after:
		return before + " → " + after
	}
	told := notes(e.after)
	switch {
	case e.before.GetGrpcEndpoint() != e.after.GetGrpcEndpoint(), e.before.GetWebtransportEndpoint() != e.after.GetWebtransportEndpoint(), e.before.GetRegion() != e.after.GetRegion():
		told = append(told, "registered anew at "+e.after.GetGrpcEndpoint())
	case e.before.GetMaxMeetings() != e.after.GetMaxMeetings(), e.before.GetMaxParticipants() != e.after.GetMaxParticipants():
		told = append(told, fmt.Sprintf("may hold %d meetings and %d participants", e.after.GetMaxMeetings(), e.after.GetMaxParticipants()))
	case e.before.GetIncarnation() != e.after.GetIncarnation():
		told = append(told, "another process: "+dash(e.after.GetIncarnation()))
	case e.before.GetReportedHealth() != e.after.GetReportedHealth():
		told = append(told, "reports "+healthWord(e.after.GetReportedHealth()))
	}
	if e.before.GetDrain() != nil && e.after.GetDrain() == nil {
		told = append(told, "not drained any more")
	}
	return after + "  " + strings.Join(told, "; ")
}
