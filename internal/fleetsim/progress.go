package fleetsim

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

const (
	redrawInterval = 500 * time.Millisecond
	lineInterval   = 5 * time.Second
)

// output serializes what concurrent scenarios print.
type output struct {
	mu         sync.Mutex
	w          io.Writer
	drawnLines int // the number of lines that the next draw replaces
}

// printLine prints a line with the time of day.
func (o *output) printLine(scenario, text string) {
	o.print(fmt.Sprintf("%s  %-16s  %s\n", time.Now().Format("15:04:05.0"), scenario, text))
}

func (o *output) print(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	// If the terminal is gone, the error cannot be shown.
	_, _ = io.WriteString(o.w, text)
}

// draw replaces the lines that were drawn before. It reads the terminal's size each time, as the size may change.
func (o *output) draw(lines []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	width, height := terminalSize(o.w)
	lines = fitLines(lines, width, height)

	var b strings.Builder
	if o.drawnLines > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", o.drawnLines)
	}
	b.WriteString("\r\x1b[J")
	for _, line := range lines {
		b.WriteString(line + "\n")
	}
	o.drawnLines = len(lines)
	_, _ = io.WriteString(o.w, b.String())
}

// clear removes the lines that were drawn.
func (o *output) clear() { o.draw(nil) }

// showProgress shows the progress of a scenario until ctx ends.
func (o *output) showProgress(ctx context.Context, env *Environment, isTerminal bool) {
	interval := lineInterval
	if isTerminal {
		interval = redrawInterval
		defer o.clear()
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()

	for {
		select {
		case <-ctx.Done():
			return
		case phase := <-env.phases:
			if isTerminal {
				o.draw(env.takeSnapshot().formatScreen())
			} else {
				o.printLine(env.scenario, phase)
			}
		case <-ticker.C:
			if isTerminal {
				o.draw(env.takeSnapshot().formatScreen())
			} else {
				o.printLine(env.scenario, env.takeSnapshot().formatLine())
			}
		}
	}
}
