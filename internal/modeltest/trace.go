package modeltest

import (
	"fmt"
	"hash/fnv"
	"slices"
)

// kept is how many of the last lines a failure shows.
const kept = 30

// trace is what happened, a line each: the last lines, and a hash of all.
type trace struct {
	lines []string
	hash  uint64
}

func newTrace() trace { return trace{lines: make([]string, 0, kept)} }

// note records what happened in the world.
func (w *World) note(format string, values ...any) {
	line := fmt.Sprintf("%9.3fs ", float64(w.now-epoch)/1000) + fmt.Sprintf(format, values...)
	if len(w.trace.lines) == kept {
		w.trace.lines = slices.Delete(w.trace.lines, 0, 1)
	}
	w.trace.lines = append(w.trace.lines, line)
	sum := fnv.New64a()
	_, _ = fmt.Fprintf(sum, "%x%s", w.trace.hash, line)
	w.trace.hash = sum.Sum64()
}

func (t trace) last() []string { return slices.Clone(t.lines) }
