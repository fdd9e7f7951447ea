package devstack

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// screen prints whole lines for several that speak at once.
type screen struct {
	mu sync.Mutex
	w  io.Writer
}

// line prints a line with the time of day.
func (s *screen) line(format string, values ...any) {
	s.print("%s  %s\n", time.Now().Format("15:04:05.0"), fmt.Sprintf(format, values...))
}

func (s *screen) print(format string, values ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// There is nobody to tell when the terminal is gone.
	_, _ = fmt.Fprintf(s.w, format, values...)
}
