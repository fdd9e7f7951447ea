package operatorcli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// shownTransitions is how much of its history a controller is shown with.
const shownTransitions = 5

// page collects lines of a name and what it is.
type page struct {
	paint painter
	b     strings.Builder
}

func (p *page) title(text string) {
	if p.b.Len() > 0 {
		p.b.WriteString("\n")
	}
	p.b.WriteString(p.paint.paint(bold, text) + "\n")
}

func (p *page) line(name, format string, values ...any) {
	p.styled(plain, name, format, values...)
}

func (p *page) styled(s style, name, format string, values ...any) {
	fmt.Fprintf(&p.b, "  %-14s %s\n", name, p.paint.paint(s, clean(fmt.Sprintf(format, values...))))
}

// writeController shows everything about a controller. The history is the newest first.
func (t *tool) writeController(c *pb.Controller, history []*pb.Transition) error {
	p := &page{paint: t.paint()}
	state := healthWord(c.GetHealth())
	p.title(clean(c.GetControllerId()))
	p.styled(stateStyle(state), "state", "%s", state)
	if c.GetPlacement().GetPlaceable() {
		p.line("placeable", "yes: it can be given a meeting")
	} else {
		for i, reason := range c.GetPlacement().GetReasons() {
			p.styled(yellow, []string{"placeable", ""}[min(i, 1)], "%s%s", []string{"no: ", "    "}[min(i, 1)], reason)
		}
	}
	p.line("region", "%s", c.GetRegion())
	p.line("meetings", "%d of %d", c.GetCurrentMeetings(), c.GetMaxMeetings())
	p.line("participants", "%d of %d", c.GetCurrentParticipants(), c.GetMaxParticipants())
	p.line("CPU, memory", "%s, %s", percent(c.CpuUsagePercent), percent(c.MemoryUsagePercent)) //nolint:protogetter // Unset is not 0.

	p.title("Heard")
	p.line("last heartbeat", "%s ago, %s", age(silence(c)), instant(c.GetLastHeartbeatAt().AsTime()))
	p.line("it reports", "%s", healthWord(c.GetReportedHealth()))
	if c.GetStale() {
		p.styled(red, "stale", "yes: silent for longer than the staleness threshold")
	}
	showDrain(p, c)

	p.title("Registered")
	p.line("gRPC", "%s", c.GetGrpcEndpoint())
	p.line("WebTransport", "%s", dash(c.GetWebtransportEndpoint()))
	p.line("since", "%s", instant(c.GetCreatedAt().AsTime()))
	p.line("incarnation", "%s", dash(c.GetIncarnation()))
	p.line("generation", "%d", c.GetGeneration())
	if n := c.GetIncarnationConflicts(); n > 0 {
		p.styled(yellow, "conflicts", "%d calls of another process under this id, the last at %s", n, instant(c.GetLastIncarnationConflictAt().AsTime()))
	}
	if len(history) > 0 {
		p.title("Last changes")
		slices.Reverse(history)
		for _, line := range historyTable(history, false).lines(p.paint, 0) {
			p.b.WriteString("  " + line + "\n")
		}
	}
	_, err := io.WriteString(t.Out, p.b.String())
	return err
}

func showDrain(p *page, c *pb.Controller) {
	d := c.GetDrain()
	if d == nil {
		return
	}
	p.title("Drain")
	p.line("ordered by", "%s, %s", dash(d.GetBy()), instant(d.GetSince().AsTime()))
	p.line("reason", "%s", dash(d.GetReason()))
	switch {
	case d.GetDeadlinePassed():
		p.styled(yellow, "deadline", "%s, which is over", instant(d.GetDeadline().AsTime()))
	case d.GetDeadline() != nil:
		p.line("deadline", "%s, in %s", instant(d.GetDeadline().AsTime()), age(d.GetDeadline().AsTime().Sub(c.GetAsOf().AsTime())))
	default:
		p.line("deadline", "none")
	}
	if c.GetDrained() {
		p.styled(green, "drained", "yes")
	} else {
		p.line("drained", "no: %s left", running(c))
	}
}
