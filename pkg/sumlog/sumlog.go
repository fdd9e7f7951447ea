// Package sumlog limits the size of the log. The first events of a kind are logged in each period. The others are counted, and their
// counts are logged at the period's end.
package sumlog

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

// Log counts events. Its methods are safe for concurrent use.
type Log struct {
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

// New returns a log that writes its counts once a period while [Log.Run] runs.
func New(period time.Duration) *Log {
	return &Log{period: period, groups: make(map[string]map[string]*kind)}
}

// Admit reports whether the caller must log the event: it does for the first allowance events of each kind in a period. Admit counts the
// others, and writes summary with their count to logger at the period's end. group is one of few constants; kindName may be any
// text, such as the address of a peer.
func (l *Log) Admit(logger log.Logger, group, kindName string, allowance int, summary ...any) bool {
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
func (l *Log) Flush() {
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
func (l *Log) Run(ctx context.Context, after func()) error {
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
