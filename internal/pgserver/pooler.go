package pgserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"darktower.example/global-controller/internal/freeport"
)

// poolerConfig has the server's host, port and user, the pooler's host and port, the mode, the size, and further lines. With
// auth_type any, every client is the user of the database's line.
const poolerConfig = `[databases]
* = host=%s port=%s user=%s
[pgbouncer]
listen_addr = %s
listen_port = %s
unix_socket_dir =
auth_type = any
user = postgres
pool_mode = %s
default_pool_size = %d
max_client_conn = 1000
%s
`

// Pooler is a PgBouncer in front of a server.
type Pooler struct {
	dir     string
	address string
	process *exec.Cmd
}

// NewPooler starts a PgBouncer for the server with the address admin. mode is "transaction" or "session", size the number of
// connections to the server. lines are added to the configuration.
func NewPooler(admin, mode string, size int, lines ...string) (*Pooler, error) {
	program, err := findPgBouncer()
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(admin)
	if err != nil {
		return nil, errNotURL
	}
	runAs, err := serverCredential()
	if err != nil {
		return nil, err
	}

	addresses, err := freeport.Find(1)
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(addresses[0])
	if err != nil {
		return nil, fmt.Errorf("split address: %w", err)
	}

	dir, err := makeDir(runAs)
	if err != nil {
		return nil, err
	}
	p := &Pooler{dir: dir, address: addresses[0]}

	config := fmt.Sprintf(poolerConfig, u.Hostname(), u.Port(), u.User.Username(), host, port, mode, size, strings.Join(lines, "\n"))
	if err := p.start(program, config, runAs); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func findPgBouncer() (string, error) {
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} {
		if program, err := exec.LookPath(name); err == nil {
			return program, nil
		}
	}
	return "", errors.New("pgbouncer not found: install Debian's package pgbouncer")
}

// start starts the pooler, and returns when it accepts connections.
func (p *Pooler) start(program, config string, runAs *syscall.Credential) error {
	configPath := filepath.Join(p.dir, "pgbouncer.ini")
	if err := os.WriteFile(configPath, []byte(config), 0o600); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	if err := chown(configPath, runAs); err != nil {
		return err
	}

	logFile, err := os.Create(filepath.Join(p.dir, "log"))
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer func() { _ = logFile.Close() }()

	process := exec.CommandContext(context.Background(), program, configPath) //nolint:gosec // An installed program.
	process.Dir = p.dir
	process.SysProcAttr = &syscall.SysProcAttr{Credential: runAs, Setpgid: true, Pdeathsig: syscall.SIGKILL}
	process.Stdout, process.Stderr = logFile, logFile
	if err := process.Start(); err != nil {
		return fmt.Errorf("start PgBouncer: %w", err)
	}
	p.process = process

	return p.waitUntilReady(logFile.Name())
}

// waitUntilReady waits until the pooler accepts connections. If it does not in time, the error has the pooler's log.
func (p *Pooler) waitUntilReady(logPath string) error {
	var dialer net.Dialer
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(pingInterval) {
		conn, err := dialer.DialContext(context.Background(), "tcp", p.address)
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(logPath)
			return fmt.Errorf("connect to PgBouncer: %w\n%s", err, text)
		}
	}
}

// Address is the pooler's host and port.
func (p *Pooler) Address() string { return p.address }

// Close stops the pooler.
func (p *Pooler) Close() error {
	var errs []error
	if p.process != nil {
		errs = append(errs, p.process.Process.Kill())
		_ = p.process.Wait() // The error is that of the signal.
	}
	return errors.Join(append(errs, os.RemoveAll(p.dir))...)
}
