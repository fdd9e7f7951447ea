package operatorcli

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
)

const drainHelp = `drain stops new meetings on controllers until undrain. First it shows the plan: what runs on each controller, and the
capacity that its region has without it. A plan is safe if the remaining controllers can hold what runs in the region, even
if the largest of them fails. A drain that is not safe is refused with exit code 4; --force drains anyway.

In a terminal, drain asks for confirmation. Elsewhere, as in a script, it needs --yes. If a controller has changed since the
plan was shown, drain changes nothing and exits with 4. Several controllers are drained one after the other, and each plan
assumes that the ones before it are drained. If any plan is unsafe, nothing is drained. If a drain is refused later, because
the fleet has changed since the plans, the ones before it stay drained and drain stops there.

A second drain of a controller replaces the reason and the deadline of the first.

--dry-run changes nothing and exits with the code that the drain would have. A duration as the deadline is evaluated on the
clock of the service.

--wait waits until every controller is drained: since its drain began it has reported that no meetings and no participants
are left. A stale controller sends no reports. It may only be disconnected, so --wait goes on. The exit code says how the
wait ended:

  0    every controller is drained
  3    a controller was deregistered before it was drained
  4    a drain was ended, for example with undrain
  7    the deadline has passed; what is left is printed. Without a deadline, the wait has no limit
  130  it was interrupted; the drain goes on

Therefore "gcctl drain ID --wait --yes && terminate" ends no meeting.`

// drainOptions are the flags of drain.
type drainOptions struct {
	reason   string
	deadline string
	output   string
	dryRun   bool
	force    bool
	wait     bool
	yes      bool
	// generation is nil if the flag is not given.
	generation *uint64
}

func (c *cli) drainCommand() *cobra.Command {
	var o drainOptions
	cmd := &cobra.Command{
		Use:   "drain ID…",
		Short: "stop new meetings on controllers",
		Long:  drainHelp,
		Example: `  gcctl drain mc-eu-west-1-2 --dry-run
  gcctl drain mc-eu-west-1-2 --reason "new kernel" --deadline 30m --wait
  gcctl drain mc-1 mc-2 --reason "rack 4" --yes   # in a script
  gcctl drain mc-1 --deadline 2031-01-02T15:04:05Z --force`,
		Args:              requireArgs(1, -1, "one or more controller ids"),
		ValidArgsFunction: c.completeControllers,
	}

	f := cmd.Flags()
	addReasonFlag(cmd, &o.reason)
	f.StringVar(&o.deadline, "deadline", "",
		"`WHEN` the drain should be over, whatever is left: a duration such as 30m, or a time such as 2031-01-02T15:04:05Z")
	f.BoolVar(&o.dryRun, "dry-run", false, "only show the plan")
	f.BoolVar(&o.force, "force", false, "drain even if the plan is not safe")
	f.BoolVar(&o.wait, "wait", false, "wait until no meetings and no participants are left")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask for confirmation")
	generation := addGenerationFlag(cmd)
	addOutputFlag(cmd, &o.output, "json", "yaml")
	disableFileCompletion(cmd, "deadline")

	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.generation = generation()
		return c.drain(cmd.Context(), args, o)
	}
	return cmd
}

// check returns an error for flags that are invalid or cannot be combined.
func (o drainOptions) check(ids []string) error {
	if err := checkOutputFormat(o.output, "json", "yaml"); err != nil {
		return err
	}
	if err := checkGeneration(o.generation, ids); err != nil {
		return err
	}

	switch {
	case len(ids) > service.MaxAssumeDrained:
		return usageError("drain takes at most %d controllers, got %d", service.MaxAssumeDrained, len(ids))
	case o.output != "" && !o.yes && !o.dryRun:
		return usageError("-o %s needs --yes", clean(o.output))
	case o.dryRun && o.wait:
		return usageError("--dry-run and --wait cannot be combined")
	}
	return nil
}

// drainDeadline is the value of --deadline: a duration from the drain on if after is above 0, and otherwise a time.
type drainDeadline struct {
	isSet bool
	at    time.Time
	after time.Duration
}

func parseDrainDeadline(text string) (drainDeadline, error) {
	if text == "" {
		return drainDeadline{}, nil
	}
	at, after, err := parseTimeOrDuration("--deadline", text)
	return drainDeadline{isSet: true, at: at, after: after}, err
}

// timestamp returns the deadline as a time of the service's clock, or nil if there is none. A duration counts from now: planned is
// the service's time of the plan, and elapsed the time since.
func (d drainDeadline) timestamp(planned time.Time, elapsed time.Duration) *timestamppb.Timestamp {
	switch {
	case !d.isSet:
		return nil
	case d.after > 0:
		return timestamppb.New(planned.Add(elapsed + d.after))
	}
	return timestamppb.New(d.at)
}

func (c *cli) drain(ctx context.Context, ids []string, o drainOptions) error {
	if err := o.check(ids); err != nil {
		return err
	}
	ids = withoutDuplicates(ids)
	if err := c.checkCanConfirm(o.yes || o.dryRun); err != nil {
		return err
	}
	deadline, err := parseDrainDeadline(o.deadline)
	if err != nil {
		return err
	}

	conn, err := c.connect(true)
	if err != nil {
		return err
	}
	defer conn.close()

	plans, err := planDrains(ctx, conn, ids, deadline, o)
	if err != nil {
		return err
	}
	if err := c.showPlans(plans, o); err != nil || o.dryRun {
		return err
	}
	if !o.yes && !c.confirm(ctx, "Drain "+formatCount(int64(len(ids)), "controller", "controllers")+"?") {
		return declinedError(ctx)
	}

	if err := executeDrains(ctx, conn, plans, deadline, o); err != nil {
		return err
	}
	if o.wait {
		return c.waitUntilDrained(ctx, conn, ids, o.output == "")
	}
	return nil
}

// drainPlans are the plans of several drains, in the order of the drains.
type drainPlans struct {
	responses []*pb.DrainResponse
	// madeAt is the time on this machine's clock when the first was requested.
	madeAt time.Time
}

// planDrains requests a plan for each controller. Each plan assumes that the controllers before it are drained.
func planDrains(ctx context.Context, conn *connection, ids []string, deadline drainDeadline, o drainOptions) (drainPlans, error) {
	plans := drainPlans{madeAt: time.Now()}
	for i, id := range ids {
		in := &pb.DrainRequest{
			ControllerId:       id,
			Reason:             o.reason,
			ExpectedGeneration: o.generation,
			DryRun:             true,
			AssumeDrained:      ids[:i],
		}
		if deadline.isSet && deadline.after == 0 { // The service refuses a time that has passed.
			in.Deadline = timestamppb.New(deadline.at)
		}

		plan, err := readWithRetryAs(ctx, conn, call{controllerID: id, scope: scopeAdmin}, in, conn.fleet.Drain)
		if err != nil {
			return plans, err
		}
		plans.responses = append(plans.responses, plan)
	}
	return plans, nil
}

// executeDrains drains the controllers as planned, and prints the result. Each drain carries the generation that the plan showed,
// so the service refuses it if the controller has changed since.
func executeDrains(ctx context.Context, conn *connection, plans drainPlans, deadline drainDeadline, o drainOptions) error {
	var results []drainResultBody
	for i, plan := range plans.responses {
		planned := plan.GetController()
		id := planned.GetControllerId()
		in := &pb.DrainRequest{
			ControllerId:       id,
			Reason:             o.reason,
			Force:              o.force,
			ExpectedGeneration: proto.Uint64(planned.GetGeneration()),
			Deadline:           deadline.timestamp(planned.GetAsOf().AsTime(), time.Since(plans.madeAt)),
		}

		result, err := changeOnce(ctx, conn, id, in, conn.fleet.Drain)
		if err != nil {
			if total := len(plans.responses); total > 1 {
				conn.cli.note("drained %d of %d controllers; stopped at %s", i, total, id)
			}
			return err
		}
		results = append(results, drainResultToBody(result))
		if o.output == "" {
			conn.cli.print("%s is draining: %s are left", clean(id), describeLoad(result.GetController()))
		}
	}

	if o.output != "" {
		return writeAs(conn.cli.Out, o.output, results)
	}
	return nil
}

// describeLoad formats the number of meetings and participants on a controller.
func describeLoad(c *pb.Controller) string {
	return formatCount(int64(c.GetCurrentMeetings()), "meeting", "meetings") + " and " +
		formatCount(int64(c.GetCurrentParticipants()), "participant", "participants")
}
