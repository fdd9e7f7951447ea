package operatorcli

import (
	"github.com/spf13/cobra"

	"darktower.example/global-controller/internal/devstack"
)

const devHelp = `dev runs a development auth controller, a Global Controller over SQLite, and a small fleet of simulated meeting
controllers. They register and send heartbeats over gRPC with valid tokens. Stop it with Ctrl-C.`

func devCommand(p Process) *cobra.Command {
	o := devstack.Options{Stdout: p.Out, Stderr: p.Err}
	cmd := &cobra.Command{
		Use:     "dev",
		GroupID: groupTry,
		Short:   "run everything on this machine, with simulated meeting controllers",
		Long:    devHelp,
		Example: `  gcctl dev
  gcctl dev --kill-one                                  # stop one controller, to see it become unhealthy
  gcctl dev --http 127.0.0.1:0 --grpc 127.0.0.1:0 --ac 127.0.0.1:0 --data "$(mktemp -d)"   # a second stack`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("dev takes flags only, not %q", clean(args[0]))
			}

			if err := o.Validate(); err != nil {
				return usageError("%v", err)
			}
			return devstack.Run(cmd.Context(), o)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	f := cmd.Flags()
	f.SortFlags = false

	f.IntVar(&o.Controllers, "controllers", 12, "number of meeting controllers to simulate, 1 to 1000")
	f.BoolVar(&o.KillOne, "kill-one", false, "stop one meeting controller when all are healthy, to see it become unhealthy")
	f.StringVar(&o.HTTPAddress, "http", devstack.DefaultHTTPAddress, "`HOST:PORT` of the Global Controller's HTTP; port 0 takes a free one")
	f.StringVar(&o.GRPCAddress, "grpc", devstack.DefaultGRPCAddress, "`HOST:PORT` of its gRPC")
	f.StringVar(&o.ACAddress, "ac", devstack.DefaultACAddress, "`HOST:PORT` of the development auth controller, on a loopback address")
	f.StringVar(&o.DataDir, "data", "data", "`FOLDER` for the database and the auth controller's key")
	f.StringVar(&o.Database, "database", "", "`URL`: postgres://… or sqlite:PATH; by default an SQLite file in the data folder")
	f.StringVar(&o.LogLevel, "log-level", "error", "lowest level of the Global Controller's log: debug, info, warn or error")
	return cmd
}
