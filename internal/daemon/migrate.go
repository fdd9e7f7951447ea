package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/go-kit/log"

	"darktower.example/global-controller/pkg/store"
)

// migrateOrder is what is asked of "migrate".
type migrateOrder struct {
	words            []string
	yes              bool
	whileReplicasRun bool
}

// readMigrateOrder takes the words and the flags of migrate out of args, and returns the other flags: the settings.
func readMigrateOrder(args []string) (order migrateOrder, settings []string) {
	take := func(name string) bool {
		before := len(args)
		args = slices.DeleteFunc(slices.Clone(args), func(arg string) bool { return arg == "-"+name || arg == "--"+name })
		return len(args) < before
	}
	order.yes, order.whileReplicasRun = take("yes"), take("while-replicas-run")
	for len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		order.words, args = append(order.words, args[0]), args[1:]
	}
	return order, args
}

func migrate(ctx context.Context, cfg Config, order migrateOrder, out io.Writer, logger log.Logger) error {
	words := order.words
	switch {
	case len(words) == 1 && words[0] == "up":
		return store.Migrate(ctx, cfg.DatabaseURL, logger)
	case len(words) == 1 && words[0] == "status":
		return printMigrations(ctx, cfg, out)
	case len(words) == 2 && words[0] == "down":
		version, err := strconv.ParseInt(words[1], 10, 64)
		if err != nil || version < 0 {
			return fmt.Errorf("%q is not a version: it is a whole number from 0", words[1])
		}
		if !order.yes {
			return fmt.Errorf(
				"migrate down %d removes the tables and columns of every later migration, with their data: back the database up, then add --yes",
				version,
			)
		}
		return store.MigrateDown(ctx, cfg.DatabaseURL, store.DownOptions{Version: version, WhileReplicasRun: order.whileReplicasRun}, logger)
	}

	return errors.New("usage: global-controller migrate up | status | down VERSION --yes [--while-replicas-run]")
}

func printMigrations(ctx context.Context, cfg Config, out io.Writer) error {
	states, schema, err := store.MigrationStatus(ctx, cfg.DatabaseURL)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "VERSION\tNAME\tAPPLIED AT")
	for _, state := range states {
		name, at := state.Name, "not yet"
		if state.IsUnknown {
			name = "(unknown to this binary: of a newer release)"
		}
		if !state.AppliedAt.IsZero() {
			at = state.AppliedAt.UTC().Format(time.RFC3339)
		}
		_, _ = fmt.Fprintf(w, "%d\t%s\t%s\n", state.Version, name, at)
	}
	if err := w.Flush(); err != nil {
		return err
	}

	line := fmt.Sprintf("The database has schema version %d, this binary %d: ", schema.Version, schema.BinaryVersion)
	switch {
	case !schema.IsCompatible():
		line += fmt.Sprintf("incompatible, it needs a binary with %d or newer.", schema.MinBinaryVersion)
	case schema.IsNewer():
		line += "newer than this binary, which may use it."
	case schema.Version < schema.BinaryVersion:
		line += "'migrate up', or a start of the service, brings it up to date."
	default:
		line += "up to date."
	}
	_, err = fmt.Fprintln(out, line)
	return err
}
