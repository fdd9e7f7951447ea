// Package loglimit limits the number of log lines. In each period, the first events of each kind are logged. The others are counted, and
// their counts are logged at the end of the period.
package loglimit

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-kit/log"
)

// maxKinds limits the number of kinds of a group that are counted separately within a period. All other kinds share one count.
const maxKinds = 128

// Limiter counts the events of each kind. Its methods are safe for concurrent use.
type Limiter struct {
	period time.Duration

	mu     sync.Mutex
	groups map[string]map[string]*kind
}

// kind counts the events of one kind in this period.
type kind struct {
	logger  log.Logger
	summary []any
	written int // events that were logged
	counted int // events that were not logged
}

// New returns a limiter that writes its counts once a period while [Limiter.Run] runs.
func New(period time.Duration) *Limiter {
	return &Limiter{period: period, groups: make(map[string]map[string]*kind)}
}

// ShouldLog reports whether the caller must log an event: true for the first allowance events of each kind in a period. ShouldLog counts
// the others. At the end of the period it writes summary and their count to logger. group is one of few constants. kindName may be any
// text, such as the address of a peer.
func (l *Limiter) ShouldLog(logger log.Logger, group, kindName string, allowance int, summary ...any) bool {
	l.mu.Lock()
	defer l.mu.Unlock()

	kinds := l.groups[group]
	if kinds == nil {
		kinds = make(map[string]*kind)
		l.groups[group] = kinds
	}

	k := kinds[kindName]
	if k == nil && len(kinds) >= maxKinds {
		kindName = ""
		summary = append(slices.Clone(summary), "among", "others")
		allowance = 0
		k = kinds[kindName]
	}
	if k == nil {
		k = &kind{logger: logger, summary: summary}
		kinds[kindName] = k
	}

	if k.written < allowance {
		k.written++
		return true
	}
	k.counted++
	return false
}

// Flush writes the counts and begins a new period.
func (l *Limiter) Flush() {
	l.mu.Lock()
	groups := l.groups
	l.groups = make(map[string]map[string]*kind, len(groups))
	l.mu.Unlock()

	for _, group := range slices.Sorted(maps.Keys(groups)) {
		for _, name := range slices.Sorted(maps.Keys(groups[group])) {
			if k := groups[group][name]; k.counted > 0 {
				_ = k.logger.Log(append(slices.Clip(k.summary), "count", k.counted, "within", l.period)...)
			}
		}
	}
}

// Run flushes once a period until ctx ends, and then once more. It calls after, which may be nil, at the end of each period.
func (l *Limiter) Run(ctx context.Context, after func()) error {
	ticker := time.NewTicker(l.period)
	defer ticker.Stop()

	for {
		select {
		case <-ctx.Done():
			l.Flush()
			return nil
		case <-ticker.C:
			l.Flush()
			if after != nil {
				after()
			}
		}
	}
}
