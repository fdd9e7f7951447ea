package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// buildDaemon builds the daemon once.
var buildDaemon = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "global-controller")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "global-controller")
	build := exec.CommandContext(context.Background(), "go", "build", "-o", path, "../../cmd/global-controller")
	out, err := build.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w: %s", err, out)
	}
	return path, nil
})

// process is a server in a process of its own.
type process struct {
	cmd        *exec.Cmd
	log        *logBuffer
	http, grpc string
	ended      chan error
}

// servingLine is the log line with the addresses of the listeners.
var servingLine = regexp.MustCompile(`msg=serving grpc=(\S+) http=(\S+)`)

func startProcess(t *testing.T, environment ...string) *process {
	t.Helper()
	path, err := buildDaemon()
	if err != nil {
		t.Fatal(err)
	}

	p := &process{cmd: exec.CommandContext(context.Background(), path), log: &logBuffer{}, ended: make(chan error, 1)}
	p.cmd.Dir = t.TempDir()
	p.cmd.Env = append(append(os.Environ(), "BIND_ADDRESS=127.0.0.1:0", "GC_GRPC_BIND_ADDRESS=127.0.0.1:0"), environment...)
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start: %v", err)
	}

	serving := make(chan []string, 1)
	go func() {
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			_, _ = p.log.Write(append(lines.Bytes(), '\n'))
			if found := servingLine.FindStringSubmatch(lines.Text()); found != nil {
				serving <- found
			}
		}
		p.ended <- p.cmd.Wait()
	}()

	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		if p.ended != nil {
			t.Logf("the server ended: %v", <-p.ended)
		}
	})

	select {
	case found := <-serving:
		p.grpc, p.http = found[1], found[2]
	case <-time.After(waitTimeout):
		t.Fatalf("the server does not serve; log:\n%s", p.log)
	}
	return p
}

// wait returns how the process ended.
func (p *process) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-p.ended:
		p.ended = nil
		return err
	case <-time.After(waitTimeout):
		t.Fatalf("the server does not end; log:\n%s", p.log)
		return nil
	}
}

// newProcessEnvironment returns an environment whose server is a process.
func newProcessEnvironment(t *testing.T, i *issuer, p *process) *environment {
	t.Helper()
	conn, err := grpc.NewClient(p.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}

	env := &environment{
		t:           t,
		issuer:      i,
		log:         p.log,
		conn:        conn,
		http:        &http.Client{Transport: &http.Transport{}},
		httpAddress: p.http,
	}

	t.Cleanup(func() {
		_ = conn.Close()
		env.http.CloseIdleConnections()
	})
	return env
}

// acknowledgements record what a killed server had acknowledged: the last load of each registered controller.
type acknowledgements struct {
	mu     sync.Mutex
	loads  map[string]int
	enough chan struct{} // Closed when there are 100 controllers.
}

func (a *acknowledgements) record(id string, meetings int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, isKnown := a.loads[id]; !isKnown && len(a.loads) == 99 {
		close(a.enough)
	}
	a.loads[id] = meetings
}

// registerUntilFailure registers controllers one after the other, sends 19 heartbeats of each, and records what was
// acknowledged. It returns at the first call that fails.
func (env *environment) registerUntilFailure(caller int, acknowledged *acknowledgements, authorization *string) {
	for controller := 1; ; controller++ {
		id := fmt.Sprintf("mc-%d-%d", caller, controller)
		if env.send(viaGRPC, call{"RegisterMC", id, registration(), authorization}) != (outcome{}) {
			return
		}
		acknowledged.record(id, 0)

		for meetings := 1; meetings < 20; meetings++ {
			fields := with(fastHeartbeat(), "capacity", map[string]any{"current_meetings": meetings})
			if env.send(viaGRPC, call{"FastHeartbeat", id, fields, authorization}) != (outcome{}) {
				return
			}
			acknowledged.record(id, meetings)
		}
	}
}

// TestKill_AcknowledgedHeartbeatsAreStored kills the server under load with SIGKILL, which it cannot prepare for.
func TestKill_AcknowledgedHeartbeatsAreStored(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		i := newIssuer(t)
		settings := []string{"DATABASE_URL=" + databaseURL, "AC_JWKS_URL=" + i.server.URL, "RATE_LIMIT_RPM=1000000"}
		p := startProcess(t, settings...)
		env := newProcessEnvironment(t, i, p).waitReady()

		acknowledged := &acknowledgements{loads: make(map[string]int), enough: make(chan struct{})}
		authorization := env.controllerAuth()
		var callers sync.WaitGroup
		for caller := range 8 {
			callers.Go(func() { env.registerUntilFailure(caller, acknowledged, authorization) })
		}
		select {
		case <-acknowledged.enough:
		case <-time.After(waitTimeout):
			t.Error("fewer than 100 controllers were registered")
		}
		if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatalf("kill: %v", err)
		}
		_ = p.wait(t)
		callers.Wait()

		again := newProcessEnvironment(t, i, startProcess(t, settings...)).waitReady()
		fleet, heartbeats := again.listFleet(), 0
		for id, meetings := range acknowledged.loads {
			// The store may have a heartbeat whose acknowledgement was lost.
			c, ok := fleet[id]
			if !ok || c.CurrentMeetings < meetings {
				t.Errorf("%s was acknowledged with %d meetings; the store has it: %v, with %d", id, meetings, ok, c.CurrentMeetings)
			}
			heartbeats += meetings
		}
		t.Logf("%d registrations and %d heartbeats were acknowledged", len(acknowledged.loads), heartbeats)
	})
}

func TestSignal_ExitsWithZero(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		i := newIssuer(t)
		p := startProcess(t, "AC_JWKS_URL="+i.server.URL)
		newProcessEnvironment(t, i, p).waitReady()
		if err := p.cmd.Process.Signal(signal); err != nil {
			t.Fatalf("signal: %v", err)
		}
		if err := p.wait(t); err != nil {
			t.Errorf("%v: the server ended with %v, want exit code 0; log:\n%s", signal, err, p.log)
		}

		if !strings.Contains(p.log.String(), "msg=stopped") {
			t.Errorf("%v: the log lacks the end:\n%s", signal, p.log)
		}
		if _, err := os.Stat(filepath.Join(p.cmd.Dir, "data", "global-controller.db")); err != nil {
			t.Errorf("the default store: %v, want a file in the data folder", err)
		}
	}
}
