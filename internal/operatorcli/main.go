// Package operatorcli has the commands of gcctl. They list controllers, drain them, read the history and diagnose problems, all
// through the public FleetService. gcctl dev and gcctl simulate are here too.
package operatorcli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"darktower.example/global-controller/internal/daemon"
	"darktower.example/global-controller/internal/fleetsim"
)

// Main runs gcctl with the arguments, streams and signals of this process, and returns its exit code: see [ExitCodesHelp].
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), terminationSignals()...)

	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)

	if len(args) > 0 && args[0] == daemonCommand {
		return runDaemon(ctx, args[1:], stdin, stdout, stderr)
	}
	return Execute(ctx, args, NewProcess(stdin, stdout, stderr, daemon.Version))
}

// Execute runs one command and returns its exit code.
func Execute(ctx context.Context, args []string, p Process) int {
	root := rootCommand(p)
	root.SetArgs(append([]string{}, args...)) // With nil, cobra would read os.Args.
	err := root.ExecuteContext(ctx)

	switch {
	case err == nil:
		return 0
	case errors.Is(err, errNoCommand):
		return ExitUsage
	case errors.Is(err, ErrInterrupted):
		return interruptCode(ctx)
	case errors.Is(err, ErrOutputClosed):
		return ExitOutputClosed
	}

	_, _ = fmt.Fprintln(p.Err, "gcctl:", err)
	if errors.Is(err, fleetsim.ErrInterrupted) {
		return interruptCode(ctx)
	}
	return ExitCodeOf(err)
}

// daemonCommand makes gcctl run a Global Controller. The fleet simulator starts its replicas with it; operators use the
// daemon's own binary.
const daemonCommand = "gc"

// runDaemon runs a Global Controller until ctx ends or stdin is closed, which happens when the parent process ends for
// any reason.
func runDaemon(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		os.Exit(1)
	}()
	return daemon.Main(ctx, args, stdout, stderr)
}
