package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/go-kit/log"

	"darktower.example/global-controller/pkg/store"
)

// sqliteScheme starts the address of an SQLite database.
const sqliteScheme = "sqlite:"

// migrateCommand has the arguments of "migrate".
type migrateCommand struct {
	words            []string
	isConfirmed      bool
	whileReplicasRun bool
}

// usageError is an error of the command line, which has its own exit code.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

// parseMigrateCommand removes the words and the flags of migrate from args. The rest are flags of settings.
func parseMigrateCommand(args []string) (command migrateCommand, settings []string) {
	takeFlag := func(name string) bool {
		before := len(args)
		args = slices.DeleteFunc(slices.Clone(args), func(arg string) bool { return arg == "-"+name || arg == "--"+name })
		return len(args) < before
	}
	command.isConfirmed = takeFlag("yes")
	command.whileReplicasRun = takeFlag("while-replicas-run")

	for len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		command.words = append(command.words, args[0])
		args = args[1:]
	}
	return command, args
}

func (m migrateCommand) run(ctx context.Context, cfg Config, out io.Writer, logger log.Logger) error {
	switch {
	case len(m.words) == 1 && m.words[0] == "up":
		return store.Migrate(ctx, cfg.DatabaseURL, logger)
	case len(m.words) == 1 && m.words[0] == "status":
		return printMigrations(ctx, cfg, out)
	case len(m.words) == 2 && m.words[0] == "down":
		return m.down(ctx, cfg, logger)
	}
	return &usageError{"usage: global-controller migrate up | status | down VERSION --yes [--while-replicas-run]"}
}

func (m migrateCommand) down(ctx context.Context, cfg Config, logger log.Logger) error {
	version, err := strconv.ParseInt(m.words[1], 10, 64)
	if err != nil || version < 0 {
		return &usageError{fmt.Sprintf("%q is not a version: use a whole number from 0", m.words[1])}
	}
	if !m.isConfirmed {
		return fmt.Errorf(
			"migrate down %d removes the tables and columns of every later migration, with their data: back the database up, then add --yes",
			version,
		)
	}
	return store.MigrateDown(ctx, cfg.DatabaseURL, store.DownOptions{Version: version, WhileReplicasRun: m.whileReplicasRun}, logger)
}

// printMigrations prints each migration and compares the schema with this binary.
func printMigrations(ctx context.Context, cfg Config, out io.Writer) error {
	if err := requireDatabaseFile(cfg.DatabaseURL); err != nil {
		return err
	}
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

	_, err = fmt.Fprintf(out, "The database has schema version %d, this binary %d: %s.\n",
		schema.Version, schema.BinaryVersion, describeSchema(schema))
	return err
}

// requireDatabaseFile returns an error if the file of an SQLite database does not exist. Opening the database would create it.
func requireDatabaseFile(databaseURL string) error {
	path, isSQLite := strings.CutPrefix(databaseURL, sqliteScheme)
	if !isSQLite {
		return nil
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the database file %s does not exist: check DATABASE_URL and GC_DATA_DIR, or create it with \"migrate up\"", path)
	}
	return nil
}

func describeSchema(schema store.SchemaState) string {
	switch {
	case !schema.IsCompatible():
		return fmt.Sprintf("incompatible, it needs a binary with %d or newer", schema.MinBinaryVersion)
	case schema.IsNewer():
		return "newer than this binary, which may use it"
	case schema.Version < schema.BinaryVersion:
		return "run 'migrate up', or start the service, to bring it up to date"
	default:
		return "up to date"
	}
}
