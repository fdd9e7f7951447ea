// Command global-controller runs the Global Controller, which tracks meeting controllers. See --help.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"darktower.example/global-controller/internal/daemon"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(daemon.Main(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
