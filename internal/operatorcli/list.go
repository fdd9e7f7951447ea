package operatorcli

import (
	"context"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// listing is a command that makes one read without arguments and prints its response as a table, JSON or YAML.
type listing[In, Out any] struct {
	request In
	// method is a method expression of the client, such as [pb.FleetServiceClient.ListRegions].
	method func(pb.FleetServiceClient, context.Context, In, ...grpc.CallOption) (Out, error)
	// toBody converts the response for JSON and YAML.
	toBody func(Out) any
	// toTable returns nil if there is nothing to show. Then emptyNote is printed.
	toTable   func(Out) *table
	emptyNote string
}

// addTo makes the listing the action of a command, and adds -o to it.
func (l listing[In, Out]) addTo(cmd *cobra.Command, c *cli) {
	var output string
	addOutputFlag(cmd, &output, "json", "yaml")
	cmd.Args = requireArgs(0, 0, "no arguments")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return l.run(cmd.Context(), c, output) }
}

func (l listing[In, Out]) run(ctx context.Context, c *cli, output string) error {
	if err := checkOutputFormat(output, "json", "yaml"); err != nil {
		return err
	}
	conn, err := c.connect(false)
	if err != nil {
		return err
	}
	defer conn.close()

	list := func(ctx context.Context, in In, options ...grpc.CallOption) (Out, error) {
		return l.method(conn.fleet, ctx, in, options...)
	}
	response, err := readWithRetry(ctx, conn, "", l.request, list)
	if err != nil {
		return err
	}
	if output != "" {
		return writeAs(c.Out, output, l.toBody(response))
	}

	t := l.toTable(response)
	if t == nil {
		c.note("%s", l.emptyNote)
		return nil
	}
	return t.write(c.Out, c.painter())
}
