package fleetsim

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"darktower.example/global-controller/internal/freeport"
)

const (
	// startPatience is how long a Global Controller may take to be ready, a store's recovery included.
	startPatience = 60 * time.Second
	// keptLines of its log are shown when something breaks, and so many of those that tell of calls: in an outage there
	// is one for each heartbeat.
	keptLines = 100
	keptCalls = 10
)

// Command is how a Global Controller is run: this very program with other words, or environment.
type Command struct {
	Path string
	Args []string
	Env  []string
}

// GC is a Global Controller in a process of its own, so that it can die as processes do.
type GC struct {
	command    Command
	env        []string
	GRPC, HTTP string // the same in every life
	log        *tail
	process    *exec.Cmd // nil while it is down
	stdin      io.Closer // the process ends itself when this ends, so it outlives ours in no case
	ended      chan struct{}
}

// gcSettings is what a scenario's Global Controller is told.
type gcSettings struct {
	database, keys, folder string
	timing                 Timing
}

func newGC(command Command, s gcSettings) (*GC, error) {
	ports, err := freeport.Find(2)
	if err != nil {
		return nil, err
	}
	g := &GC{command: command, GRPC: ports[0], HTTP: ports[1], log: &tail{}}
	g.env = append([]string{
		"DATABASE_URL=" + s.database, "AC_JWKS_URL=" + s.keys, "GC_DATA_DIR=" + filepath.Join(s.folder, "data"),
		"GC_GRPC_BIND_ADDRESS=" + g.GRPC, "BIND_ADDRESS=" + g.HTTP, "LOG_LEVEL=info", "GC_DRAIN_SECONDS=5", "GC_ID=gc-simulated",
		"FAST_HEARTBEAT_INTERVAL_MS=" + strconv.FormatInt(s.timing.Fast.Milliseconds(), 10),
		"COMPREHENSIVE_HEARTBEAT_INTERVAL_MS=" + strconv.FormatInt(s.timing.Comprehensive.Milliseconds(), 10),
		"MC_STALENESS_THRESHOLD_SECONDS=" + strconv.Itoa(int(s.timing.Threshold.Seconds())),
		// The fleet calls from one address with one subject.
		"RATE_LIMIT_RPM=1000000", "GC_MAX_CONTROLLERS_PER_SUBJECT=1000000",
		// Settings of the Global Controller that this shell may have are not for this one.
		"PATH=" + os.Getenv("PATH"), "HOME=" + s.folder, "TMPDIR=" + os.Getenv("TMPDIR"),
	}, command.Env...)
	return g, nil
}

// Start begins a life and returns when the Global Controller is ready.
func (g *GC) Start(ctx context.Context) error {
	if err := g.launch(); err != nil {
		return err
	}
	return g.awaitReady(ctx)
}

func (g *GC) launch() error {
	cmd := exec.CommandContext(context.Background(), g.command.Path, g.command.Args...) //nolint:gosec // This program.
	cmd.Env = g.env
	// A group of its own, so that an interrupt from the keyboard reaches us first.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("start the Global Controller: %w", err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return fmt.Errorf("start the Global Controller: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the Global Controller: %w", err)
	}
	ended := make(chan struct{})
	g.process, g.stdin, g.ended = cmd, stdin, ended
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			g.log.add(lines.Text())
		}
		g.log.add(fmt.Sprintf("--- the process ended: %v", cmd.Wait()))
	}()
	return nil
}

func (g *GC) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for !g.Ready(ctx) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the Global Controller is not ready: %w; its log:\n%s", ctx.Err(), g.Log())
		case <-g.ended:
			return fmt.Errorf("the Global Controller ended at its start; its log:\n%s", g.Log())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// Ready tells whether the Global Controller says that it is.
func (g *GC) Ready(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.HTTP+"/ready", nil)
	if err != nil {
		return false
	}
	// Connections are not kept: the next life has others.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// Kill ends the Global Controller as kill -9 does, and returns when it is gone.
func (g *GC) Kill() error { return g.end(syscall.SIGKILL) }

// Stop asks the Global Controller to end, and returns when it has.
func (g *GC) Stop() error { return g.end(syscall.SIGTERM) }

func (g *GC) end(signal syscall.Signal) error {
	if g.process == nil {
		return nil
	}
	if err := g.process.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end the Global Controller: %w", err)
	}
	select {
	case <-g.ended:
	case <-time.After(30 * time.Second):
		_ = g.process.Process.Kill()
		<-g.ended
	}
	_ = g.stdin.Close()
	g.process = nil
	return nil
}

// Log is the end of what the Global Controller has logged.
func (g *GC) Log() string { return g.log.String() }

// tail keeps the last lines that it is given.
type tail struct {
	mu    sync.Mutex
	lines []string
	calls int
}

func (t *tail) add(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if strings.Contains(line, " msg=call ") {
		if t.calls++; t.calls > keptCalls {
			i := slices.IndexFunc(t.lines, func(line string) bool { return strings.Contains(line, " msg=call ") })
			t.lines = slices.Delete(t.lines, i, i+1)
			t.calls--
		}
	}
	if t.lines = append(t.lines, line); len(t.lines) > keptLines {
		if strings.Contains(t.lines[0], " msg=call ") {
			t.calls--
		}
		t.lines = t.lines[1:]
	}
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := ""
	for _, line := range t.lines {
		text += "  " + line + "\n"
	}
	return text
}
