package devstack

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// screen serializes what the parts of the stack print.
type screen struct {
	mu sync.Mutex
	w  io.Writer
}

// printLine prints a line with the time of day.
func (s *screen) printLine(format string, values ...any) {
	s.print("%s  %s\n", time.Now().Format("15:04:05.0"), fmt.Sprintf(format, values...))
}

func (s *screen) print(format string, values ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// If the terminal is gone, the error cannot be shown.
	_, _ = fmt.Fprintf(s.w, format, values...)
}
