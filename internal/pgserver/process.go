package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// watchdogScript stops the server when its standard input ends, and removes the server's folder.
const watchdogScript = `cat >/dev/null
	pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null) || exit 0
	kill -CONT "$pid"; kill -QUIT "$pid"; rm -rf "$1"`

// command returns a program of PostgreSQL.
func (c *Cluster) command(program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), filepath.Join(c.binDir, program), args...) //nolint:gosec // A program of PostgreSQL.
	cmd.Dir = c.dir
	// A process group of its own, so that an interrupt from the keyboard reaches this process only.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.runAs, Setpgid: true}
	return cmd
}

// runProgram runs a program of PostgreSQL to its end.
func (c *Cluster) runProgram(program string, args ...string) error {
	if out, err := c.command(program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", program, err, out)
	}
	return nil
}

// startWatchdog starts a shell that stops the server if this process ends without cleanup, for example at a test's timeout. The end
// of this process ends the shell's standard input.
func (c *Cluster) startWatchdog() error {
	watchdog := c.command("sh")
	watchdog.Path, watchdog.Err = "/bin/sh", nil
	watchdog.Args = []string{"sh", "-c", watchdogScript, "sh", c.dir}

	input, err := watchdog.StdinPipe()
	if err != nil {
		return fmt.Errorf("start watchdog: %w", err)
	}
	if err := watchdog.Start(); err != nil {
		return fmt.Errorf("start watchdog: %w", err)
	}
	c.watchdog, c.watchdogInput = watchdog, input
	return nil
}

// signalAll sends a signal to the server and then to its child processes, each of which is in a process group of its own.
func (c *Cluster) signalAll(signal syscall.Signal) error {
	if c.server == nil {
		return fmt.Errorf("send %v: PostgreSQL is not running", signal)
	}
	pids, err := childPIDs(c.server.Process.Pid)
	if err != nil {
		return err
	}

	for _, pid := range append([]int{c.server.Process.Pid}, pids...) {
		// A process may have ended in the meantime.
		if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("send %v: %w", signal, err)
		}
	}
	return nil
}

func childPIDs(parent int) (pids []int, err error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(stats) == 0 {
		return nil, errors.New("list PostgreSQL's processes: /proc not found: run this on Linux")
	}

	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // The process has ended.
		}
		// The format is "pid (name) state parent …". The name may have any characters.
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids, nil
}

// findBinDir returns the folder of PostgreSQL's programs: that of TESTPG_BIN, of Debian's package, or of the PATH.
func findBinDir() (string, error) {
	folders := []string{os.Getenv("TESTPG_BIN")}
	installed, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	folders = append(folders, installed...)
	if path, err := exec.LookPath("initdb"); err == nil {
		folders = append(folders, filepath.Dir(path))
	}

	for _, folder := range folders {
		if folder == "" {
			continue
		}
		if path, err := exec.LookPath(filepath.Join(folder, "postgres")); err == nil {
			return filepath.Dir(path), nil
		}
	}
	return "", errors.New("PostgreSQL server programs not found: install PostgreSQL 15 or newer, or set TESTPG_BIN to their folder")
}

// serverCredential is the user that runs PostgreSQL; nil for the user of this process.
func serverCredential() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}

	owner, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("find a user for PostgreSQL, which refuses to run as root: %w", err)
	}
	uid, uidErr := strconv.ParseUint(owner.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(owner.Gid, 10, 32)
	if uidErr != nil || gidErr != nil {
		return nil, fmt.Errorf("user postgres has no numeric ids: %s, %s", owner.Uid, owner.Gid)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// makeDir makes a temporary folder for a server, which belongs to the user that runs it.
func makeDir(runAs *syscall.Credential) (string, error) {
	dir, err := os.MkdirTemp("", "testpg")
	if err != nil {
		return "", fmt.Errorf("make folder: %w", err)
	}
	if err := chown(dir, runAs); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return dir, nil
}

// chown makes the user that runs a server the owner of a path.
func chown(path string, runAs *syscall.Credential) error {
	if runAs == nil {
		return nil
	}
	if err := os.Chown(path, int(runAs.Uid), int(runAs.Gid)); err != nil {
		return fmt.Errorf("change owner: %w", err)
	}
	return nil
}
