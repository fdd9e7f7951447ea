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
	out, err := exec.CommandContext(context.Background(), "go", "build", "-o", path, "../../cmd/global-controller").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %env: %s", err, out)
	}
	return path, nil
})

// process is the daemon as it is run, seen from outside.
type process struct {
	cmd        *exec.Cmd
	log        *logBuffer
	http, grpc string
	ended      chan error
}

var addresses = regexp.MustCompile(`msg=serving grpc=(\S+) http=(\S+)`)

func startProcess(t *testing.T, environment ...string) *process {
	t.Helper()
	path, err := buildDaemon()
	if err != nil {
		t.Fatal(err)
	}

	p := &process{cmd: exec.CommandContext(context.Background(), path), log: &logBuffer{}, ended: make(chan error, 1)}
	p.cmd.Dir = t.TempDir()
	p.cmd.Env = append(os.Environ(), append([]string{"BIND_ADDRESS=127.0.0.1:0", "GC_GRPC_BIND_ADDRESS=127.0.0.1:0"}, environment...)...)
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
			if found := addresses.FindStringSubmatch(lines.Text()); found != nil {
				serving <- found
			}
		}

		p.ended <- p.cmd.Wait()
	}()

	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		if p.ended != nil {
			t.Logf("the daemon ended: %v", <-p.ended)
		}
	})

	select {
	case found := <-serving:
		p.grpc, p.http = found[1], found[2]
	case <-time.After(waitTimeout):
		t.Fatalf("the daemon does not serve; log:\n%s", p.log)
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
		t.Fatalf("the daemon does not end; log:\n%s", p.log)
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

// TestKill_AcknowledgedHeartbeatsAreStored kills the daemon under load, as nothing can prepare for.
func TestKill_AcknowledgedHeartbeatsAreStored(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		i := newIssuer(t)
		settings := []string{"DATABASE_URL=" + databaseURL, "AC_JWKS_URL=" + i.server.URL, "RATE_LIMIT_RPM=1000000"}
		p := startProcess(t, settings...)
		env := newProcessEnvironment(t, i, p).waitReady()

		var (
			mu           sync.Mutex
			acknowledged = make(map[string]int)
			callers      sync.WaitGroup
			enough       = make(chan struct{})
			once         sync.Once
			authorize    = env.controllerAuth()
		)

		for caller := range 8 {
			callers.Go(func() {
				for n := 1; ; n++ {
					id := fmt.Sprintf("mc-%d-%d", caller, n/20)

					if n%20 == 0 {
						if env.send(viaGRPC, call{"RegisterMC", id, registration(), authorize}) != (outcome{}) {
							return
						}
						mu.Lock()
						acknowledged[id] = 0
						mu.Unlock()
						continue
					}

					if n < 20 {
						continue
					}
					beat := with(fastHeartbeat(), "capacity", map[string]any{"current_meetings": n})
					if env.send(viaGRPC, call{"FastHeartbeat", id, beat, authorize}) != (outcome{}) {
						return
					}

					mu.Lock()
					acknowledged[id] = n
					if len(acknowledged) >= 100 {
						once.Do(func() { close(enough) })
					}

					mu.Unlock()
				}
			})
		}

		select {
		case <-enough:
		case <-time.After(waitTimeout):
			t.Error("the load did not come up")
		}

		if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatalf("kill: %v", err)
		}
		_ = p.wait(t)
		callers.Wait()
		again := newProcessEnvironment(t, i, startProcess(t, settings...)).waitReady()
		fleet := again.listFleet()
		beats := 0

		for id, n := range acknowledged {
			c, ok := fleet[id]
			// One that was not acknowledged any more may have been stored.
			if !ok || c.CurrentMeetings < n {
				t.Errorf("%s was acknowledged with %d meetings; the store has it: %v, with %d", id, n, ok, c.CurrentMeetings)
			}
			beats += n % 20
		}

		t.Logf("%d registrations and %d heartbeats were acknowledged", len(acknowledged), beats)
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
			t.Errorf("%v: the daemon ended with %v, want exit code 0; log:\n%s", signal, err, p.log)
		}

		if !strings.Contains(p.log.String(), "msg=stopped") {
			t.Errorf("%v: the log lacks the end:\n%s", signal, p.log)
		}
		if _, err := os.Stat(filepath.Join(p.cmd.Dir, "data", "global-controller.db")); err != nil {
			t.Errorf("the default store: %v, want a file in the data folder", err)
		}
	}
}
