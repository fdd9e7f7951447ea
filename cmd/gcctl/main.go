// Command gcctl is the tool for those who run a Global Controller. See --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/spf13/cobra"

	"darktower.example/global-controller/cmd/internal/daemon"
	"darktower.example/global-controller/cmd/internal/operate"
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

// execute returns the exit code: see [operate.ExitCodes].
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return executeIn(ctx, args, operate.NewProcess(os.Stdin, stdout, stderr, daemon.Version))
}

func executeIn(ctx context.Context, args []string, p operate.Process) int {
	root := rootCommand(p)
	root.SetArgs(append([]string{}, args...)) // With nil it would take those of the process.
	err := root.ExecuteContext(ctx)
	var usage *usageError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errNoCommand):
		return operate.ExitUsage
	case errors.Is(err, operate.ErrInterrupted):
		return interruptCode(ctx)
	case errors.Is(err, operate.ErrReaderGone):
		return operate.ExitReaderGone
	}
	_, _ = fmt.Fprintln(p.Err, "gcctl:", err)
	switch {
	case errors.As(err, &usage):
		return operate.ExitUsage
	case errors.Is(err, simulate.ErrInterrupted):
		return interruptCode(ctx)
	}
	return operate.CodeOf(err)
}

type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

func versionCommand(stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "print the version", Args: cobra.ArbitraryArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(stdout, daemon.Version)
			return err
		},
	}
}
