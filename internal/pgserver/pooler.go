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

// Pooler is a PgBouncer before a server.
type Pooler struct {
	dir     string
	address string
	process *exec.Cmd
}

// NewPooler starts a PgBouncer before the server at the address admin, in a mode ("transaction" or "session") with as
// many connections to the server as size says. Lines are added to its configuration.
func NewPooler(admin, mode string, size int, lines ...string) (*Pooler, error) {
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/pgbouncer"); err != nil {
			return nil, errors.New("no pgbouncer found: install Debian's package of that name")
		}
	}

	u, err := url.Parse(admin)
	if err != nil {
		return nil, errors.New("the address of the database is not a URL")
	}

	as, err := credential()
	if err != nil {
		return nil, err
	}

	addresses, err := freeport.Find(1)
	if err != nil {
		return nil, err
	}

	dir, err := os.MkdirTemp("", "testpg")
	if err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}

	p := &Pooler{dir: dir, address: addresses[0]}
	host, port, err := net.SplitHostPort(p.address)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("address: %w", err), p.Close())
	}

	config := fmt.Sprintf(`[databases]
* = host=%s port=%s
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
`, u.Hostname(), u.Port(), host, port, mode, size, strings.Join(lines, "\n"))

	// "any" has every client be the user of the database's own line.
	config = strings.Replace(config, "port="+u.Port(), "port="+u.Port()+" user="+u.User.Username(), 1)
	path := filepath.Join(dir, "pgbouncer.ini")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("write configuration: %w", err), p.Close())
	}
	if as != nil {
		if err := errors.Join(os.Chown(dir, int(as.Uid), int(as.Gid)), os.Chown(path, int(as.Uid), int(as.Gid))); err != nil {
			return nil, errors.Join(fmt.Errorf("hand folder over: %w", err), p.Close())
		}
	}

	p.process = exec.CommandContext(context.Background(), program, path) //nolint:gosec // A program that is installed.
	p.process.Dir = dir
	p.process.SysProcAttr = &syscall.SysProcAttr{Credential: as, Setpgid: true, Pdeathsig: syscall.SIGKILL}
	logged, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open log: %w", err), p.Close())
	}
	defer func() { _ = logged.Close() }()

	p.process.Stdout, p.process.Stderr = logged, logged
	if err := p.process.Start(); err != nil {
		p.process = nil
		return nil, errors.Join(fmt.Errorf("start PgBouncer: %w", err), p.Close())
	}

	var dialer net.Dialer
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(20 * time.Millisecond) {
		conn, err := dialer.DialContext(context.Background(), "tcp", p.address)
		if err == nil {
			return p, conn.Close()
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(logged.Name())
			return nil, errors.Join(fmt.Errorf("PgBouncer does not answer: %w\n%s", err, text), p.Close())
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
