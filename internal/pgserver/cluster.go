// Package pgserver starts throw-away PostgreSQL servers from the programs that are installed here, for tests and for the
// fleet simulator.
package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jmoiron/sqlx"
	_ "github.com/lib/pq" // registers "postgres"

	"darktower.example/global-controller/internal/freeport"
)

// startTimeout bounds the start of a server, its recovery from a crash included.
const startTimeout = 30 * time.Second

// Cluster is a PostgreSQL server that may be killed, started again and frozen. Its methods are for one goroutine.
type Cluster struct {
	bin     string
	args    []string
	dir     string
	address string
	as      *syscall.Credential
	server  *exec.Cmd // nil while the server is down
	watcher *exec.Cmd
	stdin   io.Closer // ends the watcher
}

// New starts a server with further arguments, such as "-c max_connections=100". It is stopped and removed by
// [Cluster.Close], or when this process ends without it.
func New(args ...string) (*Cluster, error) {
	bin, err := findBin()
	if err != nil {
		return nil, err
	}
	as, err := credential()
	if err != nil {
		return nil, err
	}
	// A folder into which the server's user can look as well.
	dir, err := os.MkdirTemp("", "testpg")
	if err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	c := &Cluster{bin: bin, args: args, dir: dir, as: as}
	if err := c.make(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Cluster) make() (err error) {
	if err := c.handOver(); err != nil {
		return err
	}
	initdb := c.command("initdb", "--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "-D", c.data())
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	addresses, err := freeport.Find(1)
	if err != nil {
		return err
	}
	c.address = addresses[0]
	if err := c.watch(); err != nil {
		return err
	}
	return c.start()
}

// handOver gives the folder to the user that the server runs as.
func (c *Cluster) handOver() error {
	if c.as == nil {
		return nil
	}
	if err := os.Chown(c.dir, int(c.as.Uid), int(c.as.Gid)); err != nil {
		return fmt.Errorf("hand folder over: %w", err)
	}
	return nil
}

// Close stops the server and removes what it stored.
func (c *Cluster) Close() error {
	var errs []error
	if c.server != nil {
		errs = append(errs, c.Kill())
	}
	if c.watcher != nil {
		_ = c.stdin.Close()
		_ = c.watcher.Wait() // It has nothing to tell.
	}
	return errors.Join(append(errs, os.RemoveAll(c.dir))...)
}

// URL is the address of the server's only database. It stays the same when the server is started again.
func (c *Cluster) URL() string {
	return fmt.Sprintf("postgres://postgres@%s/postgres?sslmode=disable", c.address)
}

// Kill stops the server at once, without a checkpoint and without a word to its clients, as a crash does; it returns
// when nothing of it is left.
func (c *Cluster) Kill() error {
	if err := c.signalAll(syscall.SIGCONT); err != nil {
		return err
	}
	if err := c.server.Process.Signal(syscall.SIGQUIT); err != nil {
		return fmt.Errorf("stop PostgreSQL: %w", err)
	}
	_ = c.server.Wait() // It says how the server ended, which is known.
	c.server = nil
	return nil
}

// Restart starts a server that was killed, on the same port, and returns when it answers.
func (c *Cluster) Restart() error {
	if c.server != nil {
		if err := c.Kill(); err != nil {
			return err
		}
	}
	return c.start()
}

// Pause freezes the server: connections stay open, new ones are taken by the system, and nothing is answered.
func (c *Cluster) Pause() error { return c.signalAll(syscall.SIGSTOP) }

// Resume ends a Pause.
func (c *Cluster) Resume() error { return c.signalAll(syscall.SIGCONT) }

func (c *Cluster) data() string { return filepath.Join(c.dir, "data") }

func (c *Cluster) command(program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), filepath.Join(c.bin, program), args...) //nolint:gosec // The programs of PostgreSQL.
	cmd.Dir = c.dir
	// A group of its own, so that an interrupt from the keyboard reaches this process first.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.as, Setpgid: true}
	return cmd
}

func (c *Cluster) start() error {
	logged, err := os.OpenFile(filepath.Join(c.dir, "server.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer func() { _ = logged.Close() }()
	host, port, err := net.SplitHostPort(c.address)
	if err != nil {
		return fmt.Errorf("address: %w", err)
	}
	args := []string{"-D", c.data(), "-h", host, "-p", port, "-k", c.dir, "-c", "max_connections=200"}
	server := c.command("postgres", append(args, c.args...)...)
	server.Stdout, server.Stderr = logged, logged
	if err := server.Start(); err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	c.server = server
	db, err := sqlx.Open("postgres", c.URL()+"&connect_timeout=2")
	if err != nil {
		return fmt.Errorf("open PostgreSQL: %w", err)
	}
	defer func() { _ = db.Close() }()
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(20 * time.Millisecond) {
		err := db.PingContext(context.Background())
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(logged.Name())
			return fmt.Errorf("PostgreSQL does not answer: %w\n%s", err, text)
		}
	}
}

// watch leaves a shell behind that stops the server when this process ends without its clean-ups, as it does on a
// timeout: its standard input ends then.
func (c *Cluster) watch() error {
	watcher := c.command("sh")
	watcher.Path, watcher.Err = "/bin/sh", nil
	watcher.Args = []string{"sh", "-c", `cat >/dev/null
		pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null) || exit 0
		kill -CONT "$pid"; kill -QUIT "$pid"; rm -rf "$1"`, "sh", c.dir}
	stdin, err := watcher.StdinPipe()
	if err != nil {
		return fmt.Errorf("watch PostgreSQL: %w", err)
	}
	if err := watcher.Start(); err != nil {
		return fmt.Errorf("watch PostgreSQL: %w", err)
	}
	c.watcher, c.stdin = watcher, stdin
	return nil
}

// signalAll reaches the server and then the processes that it has made, each of which is in a group of its own.
func (c *Cluster) signalAll(signal syscall.Signal) error {
	if c.server == nil {
		return fmt.Errorf("send %v: PostgreSQL is not running", signal)
	}
	pids, err := children(c.server.Process.Pid)
	if err != nil {
		return err
	}
	for _, pid := range append([]int{c.server.Process.Pid}, pids...) {
		// A process that has ended meanwhile is as good as one that was reached.
		if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("send %v: %w", signal, err)
		}
	}
	return nil
}

func children(parent int) (pids []int, err error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(stats) == 0 {
		return nil, errors.New("find PostgreSQL's processes: needs Linux's /proc")
	}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // It has ended.
		}
		// "pid (name) state parent …", where the name may hold anything.
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids, nil
}

func findBin() (string, error) {
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
	return "", errors.New("no PostgreSQL server programs found: install PostgreSQL 15 or newer, or set TESTPG_BIN to their folder")
}

// credential is whom PostgreSQL runs as; nil for this process's own user.
func credential() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	owner, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL refuses to run as root: %w", err)
	}
	uid, uidErr := strconv.ParseUint(owner.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(owner.Gid, 10, 32)
	if uidErr != nil || gidErr != nil {
		return nil, fmt.Errorf("user postgres has no numbers: %s, %s", owner.Uid, owner.Gid)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}
