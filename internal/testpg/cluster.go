package testpg

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
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
)

// startTimeout bounds the start of a server, its recovery from a crash included.
const startTimeout = 30 * time.Second

// Cluster is a PostgreSQL server of a test's own, which the test may kill, start again and freeze. Its methods end the
// test when they do not succeed; call them from the test's goroutine.
type Cluster struct {
	t      testing.TB
	bin    string
	dir    string
	port   int
	as     *syscall.Credential
	server *exec.Cmd // nil while the server is down
}

// NewCluster starts a server, which is stopped and removed when the test ends, or when the test's process does.
func NewCluster(t testing.TB) *Cluster {
	t.Helper()
	c := &Cluster{t: t, bin: findBin(t), as: credential(t)}
	// Not t.TempDir, into which only the test's own user can look: PostgreSQL refuses to run as root.
	dir, err := os.MkdirTemp("", "testpg") //nolint:usetesting // See above.
	if err != nil {
		t.Fatalf("make folder: %v", err)
	}
	c.dir = dir
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove folder: %v", err)
		}
	})
	if c.as != nil {
		if err := os.Chown(dir, int(c.as.Uid), int(c.as.Gid)); err != nil {
			t.Fatalf("hand folder over: %v", err)
		}
	}
	initdb := c.command("initdb", "--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "-D", c.data())
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	c.port = freePort(t)
	c.watch()
	c.start()
	t.Cleanup(func() {
		if c.server != nil {
			c.Kill()
		}
	})
	return c
}

// URL is the address of the server's only database. It stays the same when the server is started again.
func (c *Cluster) URL() string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", c.port)
}

// Kill stops the server at once, without a checkpoint and without a word to its clients, as a crash does; it returns
// when nothing of it is left.
func (c *Cluster) Kill() {
	c.t.Helper()
	c.signalAll(syscall.SIGCONT)
	if err := c.server.Process.Signal(syscall.SIGQUIT); err != nil {
		c.t.Fatalf("stop PostgreSQL: %v", err)
	}
	_ = c.server.Wait() // It says how the server ended, which is known.
	c.server = nil
}

// Restart starts a server that was killed, on the same port, and returns when it answers.
func (c *Cluster) Restart() {
	c.t.Helper()
	if c.server != nil {
		c.Kill()
	}
	c.start()
}

// Pause freezes the server: connections stay open, new ones are taken by the system, and nothing is answered.
func (c *Cluster) Pause() {
	c.t.Helper()
	c.signalAll(syscall.SIGSTOP)
}

// Resume ends a Pause.
func (c *Cluster) Resume() {
	c.t.Helper()
	c.signalAll(syscall.SIGCONT)
}

func (c *Cluster) data() string { return filepath.Join(c.dir, "data") }

func (c *Cluster) command(program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), filepath.Join(c.bin, program), args...)
	cmd.Dir = c.dir
	// A group of its own, so that an interrupt from the keyboard reaches the test first.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.as, Setpgid: true}
	return cmd
}

func (c *Cluster) start() {
	c.t.Helper()
	logged, err := os.OpenFile(filepath.Join(c.dir, "server.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.t.Fatalf("open log: %v", err)
	}
	defer func() { _ = logged.Close() }()
	server := c.command("postgres", "-D", c.data(), "-h", "127.0.0.1", "-p", strconv.Itoa(c.port), "-k", c.dir, "-c", "max_connections=200")
	server.Stdout, server.Stderr = logged, logged
	if err := server.Start(); err != nil {
		c.t.Fatalf("start PostgreSQL: %v", err)
	}
	c.server = server
	db, err := sqlx.Open("postgres", c.URL()+"&connect_timeout=2")
	if err != nil {
		c.t.Fatalf("open PostgreSQL: %v", err)
	}
	defer func() { _ = db.Close() }()
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(20 * time.Millisecond) {
		err := db.PingContext(context.Background())
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(logged.Name())
			c.t.Fatalf("PostgreSQL does not answer: %v\n%s", err, text)
		}
	}
}

// watch leaves a shell behind that stops the server when this process ends without its clean-ups, as it does on a
// timeout: its standard input ends then.
func (c *Cluster) watch() {
	c.t.Helper()
	watcher := c.command("sh")
	watcher.Path, watcher.Err = "/bin/sh", nil
	watcher.Args = []string{"sh", "-c", `cat >/dev/null
		pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null) || exit 0
		kill -CONT "$pid"; kill -QUIT "$pid"; rm -rf "$1"`, "sh", c.dir}
	stdin, err := watcher.StdinPipe()
	if err != nil {
		c.t.Fatalf("watch PostgreSQL: %v", err)
	}
	if err := watcher.Start(); err != nil {
		c.t.Fatalf("watch PostgreSQL: %v", err)
	}
	c.t.Cleanup(func() { closeAndWait(stdin, watcher) })
}

func closeAndWait(stdin io.Closer, cmd *exec.Cmd) {
	_ = stdin.Close()
	_ = cmd.Wait()
}

// signalAll reaches the server and then the processes that it has made, each of which is in a group of its own.
func (c *Cluster) signalAll(signal syscall.Signal) {
	c.t.Helper()
	if c.server == nil {
		c.t.Fatalf("send %v: PostgreSQL is not running", signal)
	}
	pids := append([]int{c.server.Process.Pid}, children(c.t, c.server.Process.Pid)...)
	for _, pid := range pids {
		// A process that has ended meanwhile is as good as one that was reached.
		if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			c.t.Fatalf("send %v: %v", signal, err)
		}
	}
}

func children(t testing.TB, parent int) (pids []int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(stats) == 0 {
		t.Fatal("find PostgreSQL's processes: needs Linux's /proc")
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
	return pids
}

func findBin(t testing.TB) string {
	t.Helper()
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
			return filepath.Dir(path)
		}
	}
	t.Fatal("no PostgreSQL server programs found: run `make test`, which installs them, or set TESTPG_BIN to their folder")
	return ""
}

// credential is whom PostgreSQL runs as; nil for the test's own user.
func credential(t testing.TB) *syscall.Credential {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	owner, err := user.Lookup("postgres")
	if err != nil {
		t.Fatalf("PostgreSQL refuses to run as root: %v", err)
	}
	uid, uidErr := strconv.ParseUint(owner.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(owner.Gid, 10, 32)
	if uidErr != nil || gidErr != nil {
		t.Fatalf("user postgres has no numbers: %s, %s", owner.Uid, owner.Gid)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

func freePort(t testing.TB) int {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("find a free port: %v", err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}
