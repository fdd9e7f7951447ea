package operatorcli

import (
	"context"

	"github.com/spf13/cobra"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// deregisterOptions are the flags of deregister.
type deregisterOptions struct {
	reason string
	yes    bool
	// generation is nil if the flag is not given.
	generation *uint64
}

func (c *cli) deregisterCommand() *cobra.Command {
	var o deregisterOptions
	cmd := &cobra.Command{
		Use:   "deregister ID…",
		Short: "remove controllers from the fleet",
		Args:  requireArgs(1, -1, "one or more controller ids"),
		Long: `deregister removes a controller from the fleet; its history stays. Use it for controllers that no longer run: one that
still runs registers again with its next heartbeat. To stop new meetings on a controller, drain it instead.

In a terminal, deregister asks for confirmation. Elsewhere, as in a script, it needs --yes.`,
		Example: `  gcctl deregister mc-eu-west-1-2 --reason "the machine was returned"
  gcctl fleet ls --state unhealthy -o json | jq -r '.[].controller_id' | xargs -r gcctl deregister --yes`,
		ValidArgsFunction: c.completeControllers,
	}
	addReasonFlag(cmd, &o.reason)
	cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "do not ask for confirmation")
	generation := addGenerationFlag(cmd)

	cmd.RunE = func(cmd *cobra.Command, ids []string) error {
		o.generation = generation()
		if err := checkGeneration(o.generation, ids); err != nil {
			return err
		}
		return c.deregister(cmd.Context(), withoutDuplicates(ids), o)
	}
	return cmd
}

func (c *cli) deregister(ctx context.Context, ids []string, o deregisterOptions) error {
	if err := c.checkCanConfirm(o.yes); err != nil {
		return err
	}
	conn, err := c.connect(true)
	if err != nil {
		return err
	}
	defer conn.close()

	for _, id := range ids {
		controller, err := conn.getController(ctx, id)
		if err != nil {
			return err
		}
		if !controller.GetStale() {
			c.warn("%s is running: it sent a heartbeat %s ago and has %s. It will register again with its next heartbeat; "+
				"to stop new meetings, use gcctl drain", id, formatAge(heartbeatAge(controller)), describeLoad(controller))
		}
	}

	if !o.yes && !c.confirm(ctx, "Remove "+clean(joinAnd(ids))+" from the fleet?") {
		return declinedError(ctx)
	}

	for _, id := range ids {
		in := &pb.DeregisterRequest{ControllerId: id, Reason: o.reason, ExpectedGeneration: o.generation}
		if _, err := changeOnce(ctx, conn, id, in, conn.fleet.Deregister); err != nil {
			return err
		}
		c.print("%s is removed from the fleet", clean(id))
	}
	return nil
}
