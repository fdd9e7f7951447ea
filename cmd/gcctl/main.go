// Command gcctl is the tool for those who run a Global Controller. See --help.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/peterbourgon/ff/v3/ffcli"

	"darktower.example/global-controller/cmd/internal/daemon"
	"darktower.example/global-controller/cmd/internal/simulate"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), endings()...)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	if len(os.Args) > 1 && os.Args[1] == gcWord {
		os.Exit(runGC(ctx, os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// execute returns the exit code: 0 for success, 1 for failure, 2 for a wrong use, and 128 and the number of the signal
// when one cut short what has a result.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	rootFlags := flag.NewFlagSet("gcctl", flag.ContinueOnError)
	rootFlags.SetOutput(stderr)
	root := &ffcli.Command{
		ShortUsage:  "gcctl COMMAND [FLAGS]",
		LongHelp:    "gcctl is the tool for those who run a Global Controller.",
		FlagSet:     rootFlags,
		Subcommands: []*ffcli.Command{devCommand(stdout, stderr), simulateCommand(stdout, stderr), versionCommand(stdout)},
		Exec: func(_ context.Context, args []string) error {
			if len(args) > 0 {
				return &usageError{fmt.Sprintf("unknown command %q; see gcctl --help", args[0])}
			}
			return flag.ErrHelp
		},
	}
	err := root.Parse(args)
	if err == nil {
		err = root.Run(ctx)
	} else if !errors.Is(err, flag.ErrHelp) {
		return 2 // The flag package has said what is wrong.
	}
	var usage *usageError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, flag.ErrHelp):
		if len(args) == 0 {
			return 2 // The usage has been printed.
		}
		return 0
	case errors.As(err, &usage):
		_, _ = fmt.Fprintln(stderr, "gcctl:", err)
		return 2
	case errors.Is(err, simulate.ErrInterrupted):
		_, _ = fmt.Fprintln(stderr, "gcctl:", err)
		return interruptCode(ctx)
	default:
		_, _ = fmt.Fprintln(stderr, "gcctl:", err)
		return 1
	}
}

type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

func versionCommand(stdout io.Writer) *ffcli.Command {
	return &ffcli.Command{
		Name: "version", ShortUsage: "gcctl version", ShortHelp: "print the version",
		Exec: func(context.Context, []string) error {
			_, err := fmt.Fprintln(stdout, daemon.Version)
			return err
		},
	}
}
