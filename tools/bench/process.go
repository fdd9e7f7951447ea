package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a server that is measured from outside.
type process struct {
	cmd *exec.Cmd
}

// startProcess starts a program and waits for a line on standard error that matches. It returns the groups of the match.
func startProcess(
	ctx context.Context, ready *regexp.Regexp, environment []string, name string, args ...string,
) (*process, []string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), environment...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second

	out, err := cmd.StderrPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}

	lines := bufio.NewScanner(out)
	var last []string
	for lines.Scan() {
		last = append(last, lines.Text())
		if found := ready.FindStringSubmatch(lines.Text()); found != nil {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return &process{cmd: cmd}, found, nil
		}
	}

	_ = cmd.Wait()
	return nil, nil, fmt.Errorf("%s ended: %s", name, strings.Join(last[max(0, len(last)-3):], " | "))
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.cmd.Wait()
}

const ticksPerSecond = 100 // USER_HZ on every Linux that Go runs on.

// cpuTime returns the CPU time of a process and of its children that have ended.
func cpuTime(pid int) (time.Duration, error) {
	fields, err := readStat(pid)
	if err != nil {
		return 0, err
	}
	var ticks int64
	for _, field := range fields[11:15] { // utime stime cutime cstime
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}

// readStat returns the fields after the name in /proc/PID/stat: state, parent, …
func readStat(pid int) ([]string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 20 {
		return nil, errors.New("stat has too few fields")
	}
	return fields, nil
}

// cpuTimeWithChildren returns the CPU time of a process and of its running children.
func cpuTimeWithChildren(pid int) time.Duration {
	total, _ := cpuTime(pid)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		child, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			continue
		}
		if fields, err := readStat(child); err == nil && fields[1] == strconv.Itoa(pid) {
			used, _ := cpuTime(child)
			total += used
		}
	}
	return total
}

// residentBytes returns the resident memory of a process.
func residentBytes(pid int) int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.SplitSeq(string(text), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n << 10
		}
	}
	return 0
}
