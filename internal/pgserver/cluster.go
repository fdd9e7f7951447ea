// Package pgserver starts temporary PostgreSQL servers from the installed programs, for tests and for the fleet simulator.
package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jmoiron/sqlx"
	_ "github.com/lib/pq" // registers "postgres"

	"darktower.example/global-controller/internal/freeport"
)

const (
	// startTimeout limits the start of a server, including its recovery from a crash.
	startTimeout = 30 * time.Second
	// pingInterval is the time between two attempts to connect to a server that starts.
	pingInterval = 20 * time.Millisecond
)

// Cluster is a PostgreSQL server that can be killed, restarted and paused. Its methods are not safe for concurrent use.
type Cluster struct {
	binDir        string
	args          []string // further arguments of the server
	dir           string   // of the data, the log and the socket
	address       string
	runAs         *syscall.Credential // nil: the user of this process
	server        *exec.Cmd           // nil while the server is down
	watchdog      *exec.Cmd
	watchdogInput io.Closer // Its end makes the watchdog stop the server.
}

// NewCluster starts a server with further arguments, such as "-c max_connections=100". [Cluster.Close] stops and removes it. It is
// also removed if this process ends without Close.
func NewCluster(args ...string) (*Cluster, error) {
	binDir, err := findBinDir()
	if err != nil {
		return nil, err
	}
	runAs, err := serverCredential()
	if err != nil {
		return nil, err
	}
	return startNew(&Cluster{binDir: binDir, runAs: runAs, args: args}, (*Cluster).initData)
}

// NewStandby starts a hot standby: a server that replicates c and accepts reads. It has its own data folder.
func (c *Cluster) NewStandby() (*Cluster, error) {
	copyPrimary := func(standby *Cluster) error { return standby.copyData(c.address) }
	return startNew(&Cluster{binDir: c.binDir, runAs: c.runAs}, copyPrimary)
}

// startNew starts a new cluster in a new folder. makeData makes its data folder.
func startNew(c *Cluster, makeData func(*Cluster) error) (*Cluster, error) {
	dir, err := makeDir(c.runAs)
	if err != nil {
		return nil, err
	}
	c.dir = dir

	if err := c.startWith(makeData); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Cluster) startWith(makeData func(*Cluster) error) error {
	if err := makeData(c); err != nil {
		return err
	}

	addresses, err := freeport.Find(1)
	if err != nil {
		return err
	}
	c.address = addresses[0]

	if err := c.startWatchdog(); err != nil {
		return err
	}
	return c.start()
}

// initData makes the data folder of an empty server.
func (c *Cluster) initData() error {
	return c.runProgram("initdb", "--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "-D", c.dataDir())
}

// copyData makes the data folder of a standby of the server at an address.
func (c *Cluster) copyData(primary string) error {
	host, port, err := net.SplitHostPort(primary)
	if err != nil {
		return fmt.Errorf("split address of primary: %w", err)
	}
	return c.runProgram("pg_basebackup", "-h", host, "-p", port, "-U", "postgres", "-D", c.dataDir(),
		"-R", "-X", "stream", "-c", "fast", "--no-sync")
}

// Close stops the server and removes its data.
func (c *Cluster) Close() error {
	var errs []error
	if c.server != nil {
		errs = append(errs, c.Kill())
	}
	if c.watchdog != nil {
		_ = c.watchdogInput.Close()
		_ = c.watchdog.Wait() // Its exit code has no meaning.
	}
	return errors.Join(append(errs, os.RemoveAll(c.dir))...)
}

// URL is the address of the server's only database. It stays the same after a restart.
func (c *Cluster) URL() string {
	return fmt.Sprintf("postgres://postgres@%s/postgres?sslmode=disable", c.address)
}

// Address is the server's host and port.
func (c *Cluster) Address() string { return c.address }

// Kill stops the server like a crash: immediately, without a checkpoint and without a message to its clients. It returns when
// all of the server's processes have ended.
func (c *Cluster) Kill() error {
	if err := c.signalAll(syscall.SIGCONT); err != nil {
		return err
	}
	if err := c.server.Process.Signal(syscall.SIGQUIT); err != nil {
		return fmt.Errorf("stop PostgreSQL: %w", err)
	}

	_ = c.server.Wait() // The error is that of the signal.
	c.server = nil
	return nil
}

// Restart starts the server again at the same address, and returns when it accepts connections. A server that is running is killed
// first.
func (c *Cluster) Restart() error {
	if c.server != nil {
		if err := c.Kill(); err != nil {
			return err
		}
	}
	return c.start()
}

// Pause freezes the server: connections stay open, the operating system accepts new ones, and the server responds to none.
func (c *Cluster) Pause() error { return c.signalAll(syscall.SIGSTOP) }

// Resume ends a pause.
func (c *Cluster) Resume() error { return c.signalAll(syscall.SIGCONT) }

// Promote makes a standby a primary, and returns when it accepts writes.
func (c *Cluster) Promote() error {
	db, err := sqlx.Open("postgres", c.URL())
	if err != nil {
		return fmt.Errorf("open PostgreSQL: %w", err)
	}
	defer func() { _ = db.Close() }()

	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	var isPromoted bool
	if err := db.GetContext(ctx, &isPromoted, "SELECT pg_promote(true, $1)", int(startTimeout/time.Second)); err != nil {
		return fmt.Errorf("promote standby: %w", err)
	}
	if !isPromoted {
		return fmt.Errorf("promote standby: not a primary after %v", startTimeout)
	}
	return nil
}

func (c *Cluster) dataDir() string { return filepath.Join(c.dir, "data") }

// start starts the server, and returns when it accepts connections.
func (c *Cluster) start() error {
	logFile, err := os.OpenFile(filepath.Join(c.dir, "server.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer func() { _ = logFile.Close() }()

	host, port, err := net.SplitHostPort(c.address)
	if err != nil {
		return fmt.Errorf("split address: %w", err)
	}
	args := []string{"-D", c.dataDir(), "-h", host, "-p", port, "-k", c.dir, "-c", "max_connections=200"}

	server := c.command("postgres", append(args, c.args...)...)
	server.Stdout, server.Stderr = logFile, logFile
	if err := server.Start(); err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	c.server = server

	return c.waitUntilReady(logFile.Name())
}

// waitUntilReady waits until the server accepts connections. If it does not in time, the error has the server's log.
func (c *Cluster) waitUntilReady(logPath string) error {
	db, err := sqlx.Open("postgres", c.URL()+"&connect_timeout=2")
	if err != nil {
		return fmt.Errorf("open PostgreSQL: %w", err)
	}
	defer func() { _ = db.Close() }()

	for deadline := time.Now().Add(startTimeout); ; time.Sleep(pingInterval) {
		err := db.PingContext(context.Background())
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(logPath)
			return fmt.Errorf("connect to PostgreSQL: %w\n%s", err, text)
		}
	}
}
