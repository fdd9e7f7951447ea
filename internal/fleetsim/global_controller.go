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
	"strconv"
	"syscall"
	"time"

	"darktower.example/global-controller/internal/freeport"
)

const (
	// startTimeout is how long a Global Controller may take to become ready, including the recovery of its store.
	startTimeout = 60 * time.Second
	// stopTimeout is how long a Global Controller may take to end before it is killed.
	stopTimeout = 30 * time.Second
)

// Command starts a Global Controller: usually this program with other arguments or another environment.
type Command struct {
	Path string
	Args []string
	Env  []string
}

// globalController is a Global Controller that runs as a process, so that a scenario can kill it.
type globalController struct {
	// GRPC and HTTP are its addresses, the same after each start.
	GRPC string
	HTTP string

	command Command
	env     []string
	log     *logTail
	process *exec.Cmd // nil while it is down
	// stdin keeps the process running. The process ends when stdin ends, so it never outlives this program.
	stdin  io.Closer
	exited chan struct{}
}

// globalControllerSettings are the settings of a scenario's Global Controller.
type globalControllerSettings struct {
	databaseURL string
	jwksURL     string
	folder      string
	timing      Timing
}

func newGlobalController(command Command, s globalControllerSettings) (*globalController, error) {
	ports, err := freeport.Find(2)
	if err != nil {
		return nil, err
	}
	g := &globalController{GRPC: ports[0], HTTP: ports[1], command: command, log: &logTail{}}

	g.env = []string{
		"DATABASE_URL=" + s.databaseURL,
		"AC_JWKS_URL=" + s.jwksURL,
		"GC_DATA_DIR=" + filepath.Join(s.folder, "data"),
		"GC_GRPC_BIND_ADDRESS=" + g.GRPC,
		"BIND_ADDRESS=" + g.HTTP,
		"LOG_LEVEL=info",
		"GC_DRAIN_SECONDS=5",
		"GC_ID=gc-simulated",
		"FAST_HEARTBEAT_INTERVAL_MS=" + strconv.FormatInt(s.timing.Fast.Milliseconds(), 10),
		"COMPREHENSIVE_HEARTBEAT_INTERVAL_MS=" + strconv.FormatInt(s.timing.Comprehensive.Milliseconds(), 10),
		"MC_STALENESS_THRESHOLD_SECONDS=" + strconv.Itoa(int(s.timing.Threshold.Seconds())),
		// The whole fleet calls from one address with one subject.
		"RATE_LIMIT_RPM=1000000",
		"GC_MAX_CONTROLLERS_PER_SUBJECT=1000000",
		// Nothing else is inherited: settings of a Global Controller in this shell do not apply to this one.
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + s.folder,
		"TMPDIR=" + os.Getenv("TMPDIR"),
	}

	g.env = append(g.env, command.Env...)
	return g, nil
}

// Start starts the process and returns when the Global Controller is ready.
func (g *globalController) Start(ctx context.Context) error {
	if err := g.launch(); err != nil {
		return fmt.Errorf("start the Global Controller: %w", err)
	}
	return g.awaitReady(ctx)
}

func (g *globalController) launch() error {
	cmd := exec.CommandContext(context.Background(), g.command.Path, g.command.Args...) //nolint:gosec // This program.
	cmd.Env = g.env
	// In its own process group it does not receive the terminal's interrupt. This program stops it in its clean-up.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}

	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}

	exited := make(chan struct{})
	g.process = cmd
	g.stdin = stdin
	g.exited = exited
	go func() {
		defer close(exited)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			g.log.add(lines.Text())
		}
		g.log.add(fmt.Sprintf("--- the process ended: %v", cmd.Wait()))
	}()
	return nil
}

func (g *globalController) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()

	for !g.IsReady(ctx) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the Global Controller is not ready: %w; its log:\n%s", ctx.Err(), g.Log())
		case <-g.exited:
			return fmt.Errorf("the Global Controller ended during its start; its log:\n%s", g.Log())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// IsReady reports whether the readiness check of the Global Controller succeeds.
func (g *globalController) IsReady(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.HTTP+"/ready", nil)
	if err != nil {
		return false
	}

	// A connection is not reused: the next process has not accepted it.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// Kill ends the Global Controller as kill -9 does, and returns when its process has ended.
func (g *globalController) Kill() error { return g.stop(syscall.SIGKILL) }

// Stop sends SIGTERM to the Global Controller, and returns when its process has ended.
func (g *globalController) Stop() error { return g.stop(syscall.SIGTERM) }

func (g *globalController) stop(signal syscall.Signal) error {
	if g.process == nil {
		return nil
	}
	if err := g.process.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the Global Controller: %w", err)
	}

	select {
	case <-g.exited:
	case <-time.After(stopTimeout):
		_ = g.process.Process.Kill()
		<-g.exited
	}
	_ = g.stdin.Close()
	g.process = nil
	return nil
}

// Log returns the last lines that the Global Controller has logged.
func (g *globalController) Log() string { return g.log.String() }
