package operatorcli

import (
	"context"

	"github.com/spf13/cobra"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

func (t *tool) undrainCommand() *cobra.Command {
	var (
		reason     string
		generation uint64
	)
	c := &cobra.Command{
		Use: "undrain ID…", Short: "end drains", Args: arguments(1, -1, "the id of a controller, or several"),
		Long: `undrain ends an operator's drain. What the controller itself reports counts again: it never makes a controller healthy
that is not. It asks nothing, as it takes nothing away.`,
		Example: `  gcctl undrain mc-eu-west-1-2
  gcctl undrain mc-eu-west-1-2 --reason "the new kernel works" --expected-generation 3`,
		ValidArgsFunction: t.completeDrained,
		RunE: func(c *cobra.Command, ids []string) error {
			var expected *uint64
			if flagGiven(c, "expected-generation") {
				expected = &generation
				if len(ids) > 1 {
					return wrongUse("--expected-generation is one controller's: give one id")
				}
			}
			return t.undrain(c.Context(), ids, reason, expected)
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "`WHY`, recorded in the history")
	c.Flags().Uint64Var(&generation, "expected-generation", 0,
		"only if the controller has not changed since: the generation `N` that fleet show prints")
	c.Flags().BoolP("yes", "y", false, "changes nothing: undrain never asks; a script may give it to all commands")
	for _, name := range []string{"reason", "expected-generation"} {
		_ = c.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
	return c
}

func (t *tool) undrain(ctx context.Context, ids []string, reason string, expected *uint64) error {
	s, err := t.open(true)
	if err != nil {
		return err
	}
	defer s.close()
	for _, id := range withoutRepetition(ids) {
		got, err := change(ctx, s, id, &pb.UndrainRequest{ControllerId: id, Reason: reason, ExpectedGeneration: expected}, s.fleet.Undrain)
		if err != nil {
			return err
		}
		t.print("no operator drains %s: it is %s", clean(id), healthWord(got.GetController().GetHealth()))
	}
	return nil
}

func (t *tool) deregisterCommand() *cobra.Command {
	var (
		o          deregisterOptions
		generation uint64
	)
	c := &cobra.Command{
		Use: "deregister ID…", Short: "take controllers out of the fleet", Args: arguments(1, -1, "the id of a controller, or several"),
		Long: `deregister takes a controller out of the fleet; its history stays. It is meant for controllers that are gone: one that
still runs registers again with its next heartbeat. To have one take no more meetings, drain it.

In a terminal it asks before it does anything; elsewhere, as in a script, it needs --yes.`,
		Example: `  gcctl deregister mc-eu-west-1-2 --reason "the machine was given back"
  gcctl fleet ls --state unhealthy -o json | jq -r '.[].controller_id' | xargs -r gcctl deregister --yes`,
		ValidArgsFunction: t.completeControllers,
		RunE: func(c *cobra.Command, ids []string) error {
			if flagGiven(c, "expected-generation") {
				o.generation = &generation
				if len(ids) > 1 {
					return wrongUse("--expected-generation is one controller's: give one id")
				}
			}
			return t.deregister(c.Context(), ids, o)
		},
	}
	c.Flags().StringVar(&o.reason, "reason", "", "`WHY`, recorded in the history")
	c.Flags().BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	c.Flags().Uint64Var(&generation, "expected-generation", 0,
		"only if the controller has not changed since: the generation `N` that fleet show prints")
	for _, name := range []string{"reason", "expected-generation"} {
		_ = c.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
	return c
}

// deregisterOptions are the flags of deregister.
type deregisterOptions struct {
	reason string
	yes    bool
	// generation is nil unless it was given.
	generation *uint64
}

func (t *tool) deregister(ctx context.Context, ids []string, o deregisterOptions) error {
	if err := t.mayAsk(o.yes); err != nil {
		return err
	}
	s, err := t.open(true)
	if err != nil {
		return err
	}
	defer s.close()
	ids = withoutRepetition(ids)
	for _, id := range ids {
		got, err := read(ctx, s, id, &pb.GetControllerRequest{ControllerId: id}, s.fleet.GetController)
		if err != nil {
			return err
		}
		c := got.GetController()
		if !c.GetStale() {
			t.warn("%s runs: it was heard %s ago, with %s. It registers again with its next heartbeat; drain has it take no more meetings", id, age(silence(c)), running(c))
		}
	}
	if !o.yes && !t.confirm(ctx, "Take "+clean(joinAnd(ids))+" out of the fleet?") {
		return notDone(ctx)
	}
	for _, id := range ids {
		in := &pb.DeregisterRequest{ControllerId: id, Reason: o.reason, ExpectedGeneration: o.generation}
		if _, err := change(ctx, s, id, in, s.fleet.Deregister); err != nil {
			return err
		}
		t.print("%s is out of the fleet", clean(id))
	}
	return nil
}
