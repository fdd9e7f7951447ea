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

// output prints for several who speak at once.
type output struct {
	mu    sync.Mutex
	w     io.Writer
	drawn int // lines that the next drawing replaces
}

// line prints a line with the time of day.
func (o *output) line(scenario, text string) {
	o.print(fmt.Sprintf("%s  %-16s  %s\n", time.Now().Format("15:04:05.0"), scenario, text))
}

func (o *output) print(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	// There is nobody to tell when the terminal is gone.
	_, _ = io.WriteString(o.w, text)
}

// draw replaces what was drawn before. It asks for the size each time, as it may change.
func (o *output) draw(lines []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	width, height := sizeOf(o.w)
	lines = fit(lines, width, height)
	var b strings.Builder
	if o.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", o.drawn)
	}
	b.WriteString("\r\x1b[J")
	for _, line := range lines {
		b.WriteString(line + "\n")
	}
	o.drawn = len(lines)
	_, _ = io.WriteString(o.w, b.String())
}

// clear removes what was drawn.
func (o *output) clear() {
	o.draw(nil)
}

// show shows a world until ctx ends.
func (o *output) show(ctx context.Context, w *World, terminal bool) {
	interval := lineInterval
	if terminal {
		interval = redrawInterval
		defer o.clear()
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case text := <-w.news:
			if !terminal {
				o.line(w.scenario, text)
				continue
			}
			o.draw(w.snapshot().screen())
		case <-ticker.C:
			if terminal {
				o.draw(w.snapshot().screen())
			} else {
				o.line(w.scenario, w.snapshot().line())
			}
		}
	}
}
