package daemon

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
)

// defaultGOGC is how much the heap grows between collections, in percent of what is live, unless GOGC is set. The service
// holds little and allocates much: with Go's default of 100 it would collect dozens of times a second.
const defaultGOGC = 400

// The exit codes of global-controller.
const (
	exitOK      = 0
	exitFailure = 1 // The command failed, or "probe" found that the service is not ready.
	exitUsage   = 2 // An unknown command or flag, a wrong argument, or an invalid setting.
)

// Main runs the command line of the daemon and returns its exit code: 0 for success, 1 for a failure, 2 for an unknown command
// or flag, a wrong argument, or an invalid setting.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	command := ""
	if len(args) > 0 && (args[0] == "migrate" || args[0] == "probe" || args[0] == "version") {
		command, args = args[0], args[1:]
	}
	if command == "version" {
		_, _ = fmt.Fprintln(stdout, Version)
		return exitOK
	}

	var migration migrateCommand
	if command == "migrate" {
		migration, args = parseMigrateCommand(args)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(defaultGOGC)
	}
	cfg, err := ParseConfig(args, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		_, _ = fmt.Fprintln(stderr, "global-controller:", err)
		return exitUsage
	}

	switch command {
	case "migrate":
		err = migration.run(ctx, cfg, stdout, NewLogger(stderr, cfg))
	case "probe":
		err = probe(ctx, cfg)
	default:
		err = serve(ctx, cfg, stderr)
	}
	if err == nil {
		return exitOK
	}

	_, _ = fmt.Fprintln(stderr, "global-controller:", err)
	var usage *usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailure
}

func serve(ctx context.Context, cfg Config, stderr io.Writer) error {
	server, err := New(cfg, NewLogger(stderr, cfg))
	if err != nil {
		return err
	}
	return server.Run(ctx)
}
