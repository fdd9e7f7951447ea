package operatorcli

import (
	"fmt"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// showPlans prints the plans. If one of them is not safe and --force is not given, it returns a [Failure].
func (c *cli) showPlans(plans drainPlans, o drainOptions) error {
	if o.output == "" {
		for _, plan := range plans.responses {
			c.printPlan(plan)
		}
		if len(plans.responses) > 1 {
			c.note("each plan assumes that the controllers before it are drained")
		}
	} else if o.dryRun {
		if err := writeAs(c.Out, o.output, toBodies(plans.responses, drainResultToBody)); err != nil {
			return err
		}
	}

	var unsafe []string
	for _, plan := range plans.responses {
		if !plan.GetPlan().GetSafe() {
			unsafe = append(unsafe, plan.GetController().GetControllerId())
		}
	}
	if len(unsafe) > 0 && !o.force {
		return newFailure(ExitRefused, "not safe to drain: %s; --force drains anyway", clean(joinAnd(unsafe)))
	}
	return nil
}

func (c *cli) printPlan(response *pb.DrainResponse) {
	controller, plan := response.GetController(), response.GetPlan()
	p := &page{painter: c.painter()}
	p.title("Plan: drain " + clean(controller.GetControllerId()) + " in " + clean(controller.GetRegion()))

	state := healthWord(controller.GetHealth())
	p.styledLine(stateStyle(state), "state", "%s", state)
	load := describeLoad(controller) + ", which have to end or move"
	if controller.GetStale() {
		load = describeLoad(controller) + " (last reported; not counted below because the controller is stale)"
	}
	p.line("load", "%s", load)
	if d := controller.GetDrain(); d != nil {
		p.styledLine(yellow, "already", "draining since %s, by %s (%s); this drain replaces its reason and its deadline",
			formatTime(d.GetSince().AsTime()), orDash(d.GetBy()), orDash(d.GetReason()))
	}

	before, after := plan.GetBefore(), plan.GetAfter()
	p.line("controllers", "%d serving now, %d after", countServing(before), countServing(after))
	p.line("meetings", "%s", formatCapacityChange(before.GetMeetings(), after.GetMeetings()))
	p.line("participants", "%s", formatCapacityChange(before.GetParticipants(), after.GetParticipants()))

	switch {
	case plan.GetSafe() && countServing(before) == countServing(after):
		p.styledLine(green, "safe", "yes: it is not serving, so %s loses no capacity", controller.GetRegion())
	case plan.GetSafe():
		p.styledLine(green, "safe", "yes: the remaining controllers can hold the load, even if the largest of them fails")
	}
	p.listLines(red, "safe", "NO: ", plan.GetReasons())
	c.print("%s", p.text())
}

// countServing returns the number of a region's serving controllers: those that are healthy or degraded.
func countServing(r *pb.Region) uint32 { return r.GetHealthy() + r.GetDegraded() }

// formatCapacityChange formats the load of a region, and its capacity before and after a drain.
func formatCapacityChange(before, after *pb.RegionCapacity) string {
	withoutLargest := after.GetMax() - min(after.GetMax(), after.GetLargest())
	return fmt.Sprintf("%d running; capacity %d now, %d after, %d if the largest then failed",
		before.GetCurrent(), before.GetMax(), after.GetMax(), withoutLargest)
}
