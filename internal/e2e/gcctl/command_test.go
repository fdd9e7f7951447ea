package gcctl_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"darktower.example/global-controller/internal/daemon"
	"darktower.example/global-controller/internal/operatorcli"
)

// result is the exit code and the output of a command.
type result struct {
	code     int
	out, err string
}

// gcctl runs a command, and ends the test unless the exit code is the wanted one.
func (e *environment) gcctl(wantCode int, args ...string) result {
	e.t.Helper()
	var out, errs bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	code := operatorcli.Execute(ctx, args, e.newProcess(&out, &errs))
	e.recordOutput(args, out.String(), errs.String())

	if code != wantCode {
		e.t.Fatalf("gcctl %s = %d, want %d\n%s%s", strings.Join(args, " "), code, wantCode, out.String(), errs.String())
	}
	return result{code, out.String(), errs.String()}
}

func (e *environment) newProcess(out, errs io.Writer) operatorcli.Process {
	p := operatorcli.Process{
		In:      strings.NewReader(""),
		Out:     out,
		Err:     errs,
		Env:     func(name string) string { return e.env[name] },
		Now:     time.Now,
		Size:    func() (width, height int) { return 200, 40 },
		Version: daemon.Version,
	}
	e.editProcess(&p)
	return p
}

// useTerminal makes the next commands run in a terminal with the given input.
func (e *environment) useTerminal(in io.Reader) {
	e.editProcess = func(p *operatorcli.Process) { p.In, p.InTerminal, p.ErrTerminal, p.OutTerminal = in, true, true, true }
}

// useNoTerminal makes the next commands run without a terminal.
func (e *environment) useNoTerminal() { e.editProcess = func(*operatorcli.Process) {} }

func (e *environment) recordOutput(args []string, out, errs string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.printed.WriteString(errs)
	if args[0] != "token" {
		e.printed.WriteString(out)
	}
}

// runningCommand is a command that runs until it is interrupted.
type runningCommand struct {
	e         *environment
	args      []string
	out, errs *lockedBuffer
	cancel    context.CancelFunc
	ended     chan int
}

func (e *environment) startCommand(args ...string) *runningCommand {
	e.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	e.t.Cleanup(cancel)
	r := &runningCommand{
		e:      e,
		args:   args,
		out:    &lockedBuffer{},
		errs:   &lockedBuffer{},
		cancel: cancel,
		ended:  make(chan int, 1),
	}

	p := e.newProcess(r.out, r.errs)
	go func() { r.ended <- operatorcli.Execute(ctx, args, p) }()
	return r
}

// wait waits for the end of the command, and returns its exit code.
func (r *runningCommand) wait() int {
	r.e.t.Helper()
	select {
	case code := <-r.ended:
		r.e.recordOutput(r.args, r.out.String(), r.errs.String())
		return code
	case <-time.After(testTimeout):
		r.e.t.Fatalf("gcctl %v did not end\n%s%s", r.args, r.out, r.errs)
		return -1
	}
}

func (r *runningCommand) interrupt() int {
	r.e.t.Helper()
	r.cancel()
	return r.wait()
}

// decodeJSON decodes the output of a command.
func decodeJSON[T any](t *testing.T, text string) (value T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return value
}

func checkContains(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s: %q is missing in\n%s", what, part, text)
		}
	}
}
