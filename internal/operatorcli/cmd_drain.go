package operatorcli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
)

// drainOptions are the flags of drain.
type drainOptions struct {
	reason, deadline, output string
	dryRun, force, wait, yes bool
	// generation is nil unless it was given.
	generation *uint64
}

func (t *tool) drainCommand() *cobra.Command {
	var (
		o          drainOptions
		generation uint64
	)
	c := &cobra.Command{
		Use: "drain ID…", Short: "have controllers take no new meetings", Args: arguments(1, -1, "the id of a controller, or several"),
		Long: `drain has controllers take no new meetings until undrain. It shows the plan first: what runs on each, and what is left of
its region. A plan is not safe when those who are left could not hold what runs, or not if the largest of them failed too;
such a drain is refused with the exit code 4 unless --force is given.

In a terminal it asks before it does anything; elsewhere, as in a script, it needs --yes. What it was shown is what it
drains: if somebody else has decided about the controller meanwhile, nothing is done and the exit code is 4. Several
controllers are drained one after the other: each plan takes those before it for drained. If one of them is not safe, none
is drained; the first that is refused nevertheless, as the fleet has changed meanwhile, ends it.

A second drain of a controller replaces the reason and the deadline of the first.

--dry-run changes nothing and exits as the drain would. A deadline that is a duration counts by the clock of the service.

--wait stays until every controller is drained and exits with 0 only then: each has reported since its drain began that
neither meetings nor participants are left. If the deadline passes first, it exits with 7 and says what is left; without a
deadline it waits as long as it takes. A controller that reports nothing any more may only be cut off, so it is waited for.
If one is deregistered before it is drained, the exit code is 3; if its drain is ended, 4. So "drain --wait && terminate"
ends no meeting. An interrupt ends the waiting, not the drain.`,
		Example: `  gcctl drain mc-eu-west-1-2 --dry-run
  gcctl drain mc-eu-west-1-2 --reason "new kernel" --deadline 30m --wait
  gcctl drain mc-1 mc-2 --reason "rack 4" --yes   in a script
  gcctl drain mc-1 --deadline 2031-01-02T15:04:05Z --force`,
		ValidArgsFunction: t.completeControllers,
		RunE: func(c *cobra.Command, args []string) error {
			if flagGiven(c, "expected-generation") {
				o.generation = &generation
			}
			return t.drain(c.Context(), o, args)
		},
	}
	f := c.Flags()
	f.StringVar(&o.reason, "reason", "", "`WHY`, recorded in the history")
	f.StringVar(&o.deadline, "deadline", "", "`WHEN` it is to be over, whatever is left: a duration such as 30m, or a time such as 2031-01-02T15:04:05Z")
	f.BoolVar(&o.dryRun, "dry-run", false, "only show what would happen")
	f.BoolVar(&o.force, "force", false, "drain even if that is not safe")
	f.BoolVar(&o.wait, "wait", false, "stay until it is drained: neither meetings nor participants are left")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	f.Uint64Var(&generation, "expected-generation", 0,
		"drain only if the controller has not changed since: the generation `N` that fleet show prints")
	outputFlag(c, &o.output, "json", "yaml")
	for _, name := range []string{"reason", "deadline", "expected-generation"} {
		_ = c.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
	return c
}

func (t *tool) drain(ctx context.Context, o drainOptions, ids []string) error {
	if err := form(o.output, "json", "yaml"); err != nil {
		return err
	}
	switch {
	case o.generation != nil && len(ids) > 1:
		return wrongUse("--expected-generation is one controller's: give one id")
	case len(ids) > service.MaxAssumeDrained:
		return wrongUse("drain takes at most %d controllers at once, not %d", service.MaxAssumeDrained, len(ids))
	case o.output != "" && !o.yes && !o.dryRun:
		return wrongUse("-o %s shows no plan to say yes to: it needs --yes", clean(o.output))
	case o.dryRun && o.wait:
		return wrongUse("--dry-run drains nothing that could be waited for")
	}
	ids = withoutRepetition(ids)
	if err := t.mayAsk(o.yes || o.dryRun); err != nil {
		return err
	}
	var (
		at    time.Time
		after time.Duration
		err   error
	)
	if o.deadline != "" {
		if at, after, err = timeOrDuration("--deadline", o.deadline); err != nil {
			return err
		}
	}
	s, err := t.open(true)
	if err != nil {
		return err
	}
	defer s.close()

	var plans []*pb.DrainResponse
	looked := time.Now()
	for i, id := range ids {
		ask := &pb.DrainRequest{ControllerId: id, Reason: o.reason, ExpectedGeneration: o.generation, DryRun: true, AssumeDrained: ids[:i]}
		if !at.IsZero() {
			ask.Deadline = timestamppb.New(at)
		}
		plan, err := readAs(ctx, s, call{id: id, scope: "gc:admin"}, ask, s.fleet.Drain)
		if err != nil {
			return err
		}
		plans = append(plans, plan)
	}
	if err := t.showPlans(plans, o); err != nil || o.dryRun {
		return err
	}
	if !o.yes && !t.confirm(ctx, "Drain "+counted(int64(len(ids)), "controller", "controllers")+"?") {
		return notDone(ctx)
	}
	var done []drainedBody
	for i, id := range ids {
		shown := plans[i].GetController()
		order := &pb.DrainRequest{ControllerId: id, Reason: o.reason, Force: o.force, ExpectedGeneration: proto64(shown.GetGeneration())}
		if o.deadline != "" {
			if after > 0 {
				at = shown.GetAsOf().AsTime().Add(time.Since(looked) + after)
			}
			order.Deadline = timestamppb.New(at)
		}
		result, err := change(ctx, s, id, order, s.fleet.Drain)
		if err != nil {
			return t.stopped(err, ids, i)
		}
		done = append(done, drainedToBody(result))
		if o.output == "" {
			t.print("%s drains: %s on it", clean(id), running(result.GetController()))
		}
	}
	if o.output != "" {
		if err := writeAs(t.Out, o.output, done); err != nil {
			return err
		}
	}
	if o.wait {
		return t.waitUntilDrained(ctx, s, ids, o.output == "")
	}
	return nil
}

// stopped says what was done before an error.
func (t *tool) stopped(err error, ids []string, done int) error {
	if len(ids) > 1 {
		t.note("%d of %d were drained before this; %s and what follows were not", done, len(ids), ids[done])
	}
	return err
}

func proto64(n uint64) *uint64 { return &n }

func running(c *pb.Controller) string {
	return counted(int64(c.GetCurrentMeetings()), "meeting", "meetings") + " and " + counted(int64(c.GetCurrentParticipants()), "participant", "participants")
}

// showPlans shows what would happen. Its error is a Failure when the server would refuse.
func (t *tool) showPlans(plans []*pb.DrainResponse, o drainOptions) error {
	var unsafe []string
	bodies := make([]drainedBody, 0, len(plans))
	for _, plan := range plans {
		bodies = append(bodies, drainedToBody(plan))
		if !plan.GetPlan().GetSafe() {
			unsafe = append(unsafe, plan.GetController().GetControllerId())
		}
		if o.output == "" {
			t.writePlan(plan)
		}
	}
	if o.output != "" && o.dryRun {
		if err := writeAs(t.Out, o.output, bodies); err != nil {
			return err
		}
	}
	if len(plans) > 1 && o.output == "" {
		t.note("each plan takes those before it for drained")
	}
	if len(unsafe) > 0 && !o.force {
		return failed(ExitRefused, "not safe to drain: %s; --force drains all the same", clean(joinAnd(unsafe)))
	}
	return nil
}

func (t *tool) writePlan(plan *pb.DrainResponse) {
	c, p := plan.GetController(), &page{paint: t.paint()}
	p.title("Plan: drain " + clean(c.GetControllerId()) + " of " + clean(c.GetRegion()))
	state := healthWord(c.GetHealth())
	p.styled(stateStyle(state), "state", "%s", state)
	runs := running(c) + ", which have to end or go elsewhere"
	if c.GetStale() {
		runs = running(c) + ", as it said before it fell silent; below they do not count"
	}
	p.line("runs on it", "%s", runs)
	if d := c.GetDrain(); d != nil {
		p.styled(yellow, "already", "draining since %s, by %s (%s); this replaces its reason and its deadline", instant(d.GetSince().AsTime()), dash(d.GetBy()), dash(d.GetReason()))
	}
	before, after := plan.GetPlan().GetBefore(), plan.GetPlan().GetAfter()
	p.line("controllers", "%d take meetings now, %d after", serving(before), serving(after))
	p.line("meetings", "%s", shrink(before.GetMeetings(), after.GetMeetings()))
	p.line("participants", "%s", shrink(before.GetParticipants(), after.GetParticipants()))
	switch {
	case plan.GetPlan().GetSafe() && serving(before) == serving(after):
		p.styled(green, "safe", "yes: it takes no meetings now, so that nothing is taken away from %s", c.GetRegion())
	case plan.GetPlan().GetSafe():
		p.styled(green, "safe", "yes: those that are left can hold what runs, even if the largest of them fails")
	}
	for i, reason := range plan.GetPlan().GetReasons() {
		p.styled(red, []string{"safe", ""}[min(i, 1)], "%s%s", []string{"NO: ", "    "}[min(i, 1)], reason)
	}
	t.print("%s", p.b.String()[:p.b.Len()-1])
}

func serving(r *pb.Region) uint32 { return r.GetHealthy() + r.GetDegraded() }

func shrink(before, after *pb.RegionCapacity) string {
	return fmt.Sprintf("%d run; room for %d now, %d after, %d if the largest failed then", before.GetCurrent(), before.GetMax(), after.GetMax(), after.GetMax()-min(after.GetMax(), after.GetLargest()))
}
