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

// completionTimeout limits how long a shell waits for completions. Failures are silent: they would garble the command line.
const completionTimeout = time.Second

// completeWords completes one of the given words.
func completeWords(texts ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(texts, cobra.ShellCompDirectiveNoFileComp)
}

// disableFileCompletion makes the shell complete nothing for flags whose values are not file names.
func disableFileCompletion(cmd *cobra.Command, names ...string) {
	for _, name := range names {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
}

// completeFrom completes what query reads over a connection that writes nothing to the terminal.
func (c *cli) completeFrom(
	cmd *cobra.Command, query func(context.Context, *connection) ([]string, error),
) ([]cobra.Completion, cobra.ShellCompDirective) {
	quiet := *c
	quiet.Err = io.Discard
	quiet.ErrTerminal = false
	quiet.flags.timeout = completionTimeout

	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()

	conn, err := quiet.connect(false)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer conn.close()

	found, err := query(ctx, conn)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

// completeControllers completes the ids of controllers that are not among args.
func (c *cli) completeControllers(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return c.completeMatching(cmd, args, prefix, func(*pb.Controller) bool { return true })
}

// completeDrained completes the ids of controllers that an operator drains.
func (c *cli) completeDrained(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return c.completeMatching(cmd, args, prefix, (*pb.Controller).GetOperatorDraining)
}

func (c *cli) completeMatching(
	cmd *cobra.Command, args []string, prefix string, matches func(*pb.Controller) bool,
) ([]cobra.Completion, cobra.ShellCompDirective) {
	return c.completeFrom(cmd, func(ctx context.Context, conn *connection) ([]string, error) {
		controllers, err := conn.listControllers(ctx, "", pb.Health_HEALTH_UNSPECIFIED)
		var ids []string
		for _, controller := range controllers {
			id := controller.GetControllerId()
			if matches(controller) && strings.HasPrefix(id, prefix) && !slices.Contains(args, id) && clean(id) == id {
				description := healthWord(controller.GetHealth()) + ", " + clean(controller.GetRegion())
				ids = append(ids, cobra.CompletionWithDesc(id, description))
			}
		}
		return ids, err
	})
}

// completeOneController completes one id for commands that take no second one.
func (c *cli) completeOneController(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return c.completeControllers(cmd, args, prefix)
}

func (c *cli) completeRegions(cmd *cobra.Command, _ []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return c.completeFrom(cmd, func(ctx context.Context, conn *connection) ([]string, error) {
		response, err := readWithRetry(ctx, conn, "", &pb.ListRegionsRequest{}, conn.fleet.ListRegions)
		var names []string
		for _, region := range response.GetRegions() {
			if name := region.GetRegion(); strings.HasPrefix(name, prefix) && clean(name) == name {
				names = append(names, name)
			}
		}
		return names, err
	})
}

func (c *cli) completeContexts(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	file, err := c.readContextFile()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return slices.Sorted(maps.Keys(file.Contexts)), cobra.ShellCompDirectiveNoFileComp
}
