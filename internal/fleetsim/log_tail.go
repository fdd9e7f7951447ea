package fleetsim

import (
	"slices"
	"strings"
	"sync"
)

const (
	// maxLogLines is how many of the last lines of a log are kept for the report of a failure.
	maxLogLines = 100
	// maxCallLines is how many of them may be about calls: during an outage the log has one for each heartbeat.
	maxCallLines = 10
)

// logTail keeps the last lines of a log.
type logTail struct {
	mu        sync.Mutex
	lines     []string
	callLines int
}

func (t *logTail) add(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()

	if isCallLine(line) {
		t.callLines++
		if t.callLines > maxCallLines {
			oldest := slices.IndexFunc(t.lines, isCallLine)
			t.lines = slices.Delete(t.lines, oldest, oldest+1)
			t.callLines--
		}
	}

	t.lines = append(t.lines, line)
	if len(t.lines) > maxLogLines {
		if isCallLine(t.lines[0]) {
			t.callLines--
		}
		t.lines = t.lines[1:]
	}
}

func isCallLine(line string) bool { return strings.Contains(line, " msg=call ") }

func (t *logTail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := ""
	for _, line := range t.lines {
		text += "  " + line + "\n"
	}
	return text
}
