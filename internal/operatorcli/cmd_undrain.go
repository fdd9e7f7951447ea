package operatorcli

import (
	"context"

	"github.com/spf13/cobra"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

func (c *cli) undrainCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "undrain ID…",
		Short: "end drains",
		Args:  requireArgs(1, -1, "one or more controller ids"),
		Long: `undrain ends the drain that an operator started. After that, the state that the controller reports counts again: undrain
never makes an unhealthy controller healthy. It asks for no confirmation, because it takes nothing away. For a controller
that no operator drains, it changes nothing and says so.`,
		Example: `  gcctl undrain mc-eu-west-1-2
  gcctl undrain mc-eu-west-1-2 --reason "the new kernel works" --expected-generation 3`,
		ValidArgsFunction: c.completeDrained,
	}

	addReasonFlag(cmd, &reason)
	generation := addGenerationFlag(cmd)
	cmd.Flags().BoolP("yes", "y", false, "accepted without effect, so that a script can pass it to drain, undrain and deregister")

	cmd.RunE = func(cmd *cobra.Command, ids []string) error {
		if err := checkGeneration(generation(), ids); err != nil {
			return err
		}
		return c.undrain(cmd.Context(), ids, reason, generation())
	}
	return cmd
}

func (c *cli) undrain(ctx context.Context, ids []string, reason string, generation *uint64) error {
	conn, err := c.connect(true)
	if err != nil {
		return err
	}
	defer conn.close()

	for _, id := range withoutDuplicates(ids) {
		before, err := conn.getController(ctx, id)
		if err != nil {
			return err
		}

		in := &pb.UndrainRequest{ControllerId: id, Reason: reason, ExpectedGeneration: generation}
		response, err := changeOnce(ctx, conn, id, in, conn.fleet.Undrain)
		if err != nil {
			return err
		}

		// The end of a drain increments the generation; without a drain it stays.
		after := response.GetController()
		result := "no operator drains %s: it is %s"
		if after.GetGeneration() != before.GetGeneration() {
			result = "ended the drain of %s: it is %s"
		}
		c.print(result, clean(id), healthWord(after.GetHealth()))
	}
	return nil
}
