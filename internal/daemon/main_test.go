package daemon

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// runMain runs the command line.
func runMain(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Main(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestMain_Help(t *testing.T) {
	code, out, _ := runMain(t, "--help")
	if code != 0 {
		t.Errorf("--help = %d, want 0", code)
	}
	for _, want := range []string{"JWT_CLOCK_SKEW_SECONDS", `default "300"`, "Exit codes:", "migrate status"} {
		if !strings.Contains(out, want) {
			t.Errorf("--help lacks %s:\n%s", want, out)
		}
	}
	if _, err := ParseConfig([]string{"--help"}, &bytes.Buffer{}); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("ParseConfig(--help) = %v, want flag.ErrHelp", err)
	}
}

func TestMain_Version(t *testing.T) {
	if code, out, _ := runMain(t, "version"); code != 0 || out != Version+"\n" {
		t.Errorf("version = %d %q", code, out)
	}
}

func TestMain_ExitCodes(t *testing.T) {
	for _, args := range [][]string{{"fly"}, {"--fly"}, {"--rate-limit-rpm", "0"}} {
		if code, _, errs := runMain(t, args...); code != 2 || errs == "" {
			t.Errorf("%v = %d %q, want 2 and a reason", args, code, errs)
		}
	}

	database := "sqlite:" + filepath.Join(t.TempDir(), "gc.db")
	for _, tc := range []struct {
		args []string
		code int
	}{
		{[]string{"migrate", "up"}, 0},
		{[]string{"migrate", "status"}, 0},
		{[]string{"migrate", "down", "0"}, 1},
		{[]string{"migrate", "down", "0", "--yes"}, 0},
		{[]string{"migrate", "down", "--yes", "--while-replicas-run", "0"}, 0},
		{[]string{"migrate", "down", "x"}, 2},
		{[]string{"migrate", "down", "-1"}, 2},
		{[]string{"migrate"}, 2},
		{[]string{"migrate", "sideways"}, 2},
		{[]string{"probe", "--bind-address", "127.0.0.1:1"}, 1},
	} {
		if code, out, errs := runMain(t, append(tc.args, "--database-url", database)...); code != tc.code {
			t.Errorf("%v = %d, want %d:\n%s%s", tc.args, code, tc.code, out, errs)
		}
	}
}

func TestMigrateStatus_MissingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing", "gc.db")
	code, _, errs := runMain(t, "migrate", "status", "--database-url", "sqlite:"+path)
	if code != 1 || !strings.Contains(errs, path+" does not exist") {
		t.Errorf("migrate status = %d %q, want 1 and the missing file", code, errs)
	}
	if _, err := os.Stat(filepath.Dir(path)); err == nil {
		t.Error("migrate status created the folder of the database")
	}
}
