package modeltest

import (
	"fmt"
	"hash/fnv"
	"slices"
)

// maxTraceLines is the number of lines that a failure shows.
const maxTraceLines = 30

// trace has one line for each event: the last lines, and a hash of all of them.
type trace struct {
	lines []string
	hash  uint64
}

func newTrace() trace { return trace{lines: make([]string, 0, maxTraceLines)} }

// note adds a line to the trace.
func (env *Environment) note(format string, values ...any) {
	line := fmt.Sprintf("%9.3fs ", float64(env.now-epoch)/1000) + fmt.Sprintf(format, values...)

	if len(env.trace.lines) == maxTraceLines {
		env.trace.lines = slices.Delete(env.trace.lines, 0, 1)
	}
	env.trace.lines = append(env.trace.lines, line)

	sum := fnv.New64a()
	_, _ = fmt.Fprintf(sum, "%x%s", env.trace.hash, line)
	env.trace.hash = sum.Sum64()
}

func (t trace) last() []string { return slices.Clone(t.lines) }
