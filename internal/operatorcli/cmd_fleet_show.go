package operatorcli

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// shownTransitions is how many transitions fleet show prints.
const shownTransitions = 5

func (c *cli) fleetShowCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "show one controller, and whether it accepts meetings",
		Long: `show prints everything that is known about a controller: each reason why it accepts no meetings, the drain and the
operator that started it, and the last transitions of its state.`,
		Example: `  gcctl fleet show mc-eu-west-1-2
  gcctl fleet show mc-eu-west-1-2 -o json | jq .placement.reasons`,
		Args:              requireArgs(1, 1, "one controller id"),
		ValidArgsFunction: c.completeOneController,
		RunE:              func(cmd *cobra.Command, args []string) error { return c.showController(cmd.Context(), args[0], output) },
	}
	addOutputFlag(cmd, &output, "json", "yaml")
	return cmd
}

func (c *cli) showController(ctx context.Context, id, output string) error {
	if err := checkOutputFormat(output, "json", "yaml"); err != nil {
		return err
	}
	conn, err := c.connect(false)
	if err != nil {
		return err
	}
	defer conn.close()

	controller, err := conn.getController(ctx, id)
	if err != nil {
		return err
	}
	if output != "" {
		return writeAs(c.Out, output, controllerToBody(controller))
	}

	in := &pb.ListTransitionsRequest{ControllerId: id, PageSize: shownTransitions, NewestFirst: true}
	history, err := readWithRetry(ctx, conn, id, in, conn.fleet.ListTransitions)
	if err != nil {
		return err
	}
	return c.writeController(controller, history.GetTransitions())
}

// writeController writes a controller and its last transitions, of which the newest comes first.
func (c *cli) writeController(controller *pb.Controller, newestFirst []*pb.Transition) error {
	p := &page{painter: c.painter()}
	addState(p, controller)
	addReports(p, controller)
	addDrain(p, controller)
	addRegistration(p, controller)

	if len(newestFirst) > 0 {
		p.title("Last transitions")
		transitions := slices.Clone(newestFirst)
		slices.Reverse(transitions)
		for _, line := range transitionTable(transitions, false).lines(p.painter, 0) {
			p.b.WriteString("  " + line + "\n")
		}
	}
	_, err := fmt.Fprintln(c.Out, p.text())
	return err
}

func addState(p *page, c *pb.Controller) {
	state := healthWord(c.GetHealth())
	p.title(clean(c.GetControllerId()))
	p.styledLine(stateStyle(state), "state", "%s", state)
	if c.GetPlacement().GetPlaceable() {
		p.line("accepts meetings", "yes")
	} else {
		p.listLines(yellow, "accepts meetings", "no: ", c.GetPlacement().GetReasons())
	}

	p.line("region", "%s", c.GetRegion())
	p.line("meetings", "%d of %d", c.GetCurrentMeetings(), c.GetMaxMeetings())
	p.line("participants", "%d of %d", c.GetCurrentParticipants(), c.GetMaxParticipants())
	cpu, memory := c.CpuUsagePercent, c.MemoryUsagePercent //nolint:protogetter // Unset is not 0.
	p.line("CPU, memory", "%s, %s", formatPercent(cpu), formatPercent(memory))
}

func addReports(p *page, c *pb.Controller) {
	p.title("Heartbeats")
	p.line("last heartbeat", "%s ago, at %s", formatAge(heartbeatAge(c)), formatTime(c.GetLastHeartbeatAt().AsTime()))
	p.line("reported state", "%s", healthWord(c.GetReportedHealth()))
	if c.GetStale() {
		p.styledLine(red, "stale", "yes: no heartbeat within the staleness threshold")
	}
}

// addDrain adds nothing for a controller that no operator drains.
func addDrain(p *page, c *pb.Controller) {
	d := c.GetDrain()
	if d == nil {
		return
	}

	p.title("Drain")
	p.line("started by", "%s, at %s", orDash(d.GetBy()), formatTime(d.GetSince().AsTime()))
	p.line("reason", "%s", orDash(d.GetReason()))
	switch {
	case d.GetDeadlinePassed():
		p.styledLine(yellow, "deadline", "%s, passed", formatTime(d.GetDeadline().AsTime()))
	case d.GetDeadline() != nil:
		left := d.GetDeadline().AsTime().Sub(c.GetAsOf().AsTime())
		p.line("deadline", "%s, in %s", formatTime(d.GetDeadline().AsTime()), formatAge(left))
	default:
		p.line("deadline", "none")
	}

	if c.GetDrained() {
		p.styledLine(green, "drained", "yes")
	} else {
		p.line("drained", "no: %s are left", describeLoad(c))
	}
}

func addRegistration(p *page, c *pb.Controller) {
	p.title("Registration")
	p.line("gRPC", "%s", c.GetGrpcEndpoint())
	p.line("WebTransport", "%s", orDash(c.GetWebtransportEndpoint()))
	p.line("since", "%s", formatTime(c.GetCreatedAt().AsTime()))
	p.line("incarnation", "%s", orDash(c.GetIncarnation()))
	p.line("generation", "%d", c.GetGeneration())
	if n := c.GetIncarnationConflicts(); n > 0 {
		p.styledLine(yellow, "conflicts", "%d calls from another process with this id, the last at %s",
			n, formatTime(c.GetLastIncarnationConflictAt().AsTime()))
	}
}
