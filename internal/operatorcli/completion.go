package operatorcli

import (
	"context"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// completionBound is how long a shell waits for ids before it completes nothing. Nobody is told why.
const completionBound = time.Second

// completing opens a session that says nothing, whatever happens.
func (t *tool) completing(c *cobra.Command, ask func(context.Context, *session) ([]string, error)) ([]cobra.Completion, cobra.ShellCompDirective) {
	silent := *t
	silent.Err, silent.ErrTerminal, silent.flags.timeout = io.Discard, false, completionBound
	ctx := c.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completionBound)
	defer cancel()
	s, err := silent.open(false)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer s.close()
	found, err := ask(ctx, s)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

// completeControllers completes ids that are not given yet.
func (t *tool) completeControllers(c *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return t.completeSome(c, args, begun, func(*pb.Controller) bool { return true })
}

// completeDrained completes those that an operator drains.
func (t *tool) completeDrained(c *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return t.completeSome(c, args, begun, (*pb.Controller).GetOperatorDraining)
}

func (t *tool) completeSome(c *cobra.Command, args []string, begun string, fits func(*pb.Controller) bool) ([]cobra.Completion, cobra.ShellCompDirective) {
	return t.completing(c, func(ctx context.Context, s *session) ([]string, error) {
		found, err := s.controllers(ctx, "", pb.Health_HEALTH_UNSPECIFIED)
		var ids []string
		for _, one := range found {
			id := one.GetControllerId()
			if fits(one) && strings.HasPrefix(id, begun) && !slices.Contains(args, id) && clean(id) == id {
				ids = append(ids, cobra.CompletionWithDesc(id, healthWord(one.GetHealth())+", "+clean(one.GetRegion())))
			}
		}
		return ids, err
	})
}

func (t *tool) completeOneController(c *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return t.completeControllers(c, args, begun)
}

func (t *tool) completeRegions(c *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return t.completing(c, func(ctx context.Context, s *session) ([]string, error) {
		got, err := read(ctx, s, "", &pb.ListRegionsRequest{}, s.fleet.ListRegions)
		var names []string
		for _, r := range got.GetRegions() {
			if name := r.GetRegion(); strings.HasPrefix(name, begun) && clean(name) == name {
				names = append(names, name)
			}
		}
		return names, err
	})
}

func (t *tool) completeContexts(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	file, err := t.readContexts()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return slices.Sorted(maps.Keys(file.Contexts)), cobra.ShellCompDirectiveNoFileComp
}
