// Package retention prunes the history and retires controllers that have been stale for long.
package retention

import (
	"context"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"darktower.example/global-controller/service"
)

const (
	defaultInterval = time.Minute
	// The delay before the first pass, and after a skipped pass, is the interval divided by retriesPerInterval.
	retriesPerInterval = 10
	// batchPause is the delay between the batches of a large removal, so that other statements can run.
	batchPause = 100 * time.Millisecond
	// passTimeout limits the duration of a pass. The store's own timeout is shorter.
	passTimeout = 30 * time.Second
)

// Config configures [Run].
type Config struct {
	Store  service.Pruner
	Policy service.RetentionPolicy
	// Interval is the time between passes if nothing is left to remove; 0 means one minute.
	Interval time.Duration
	// IsServiceable reports whether the store can be used now. If not, the pass is skipped.
	IsServiceable func() bool
	// Observe receives the result of each pass.
	Observe func(service.RetentionResult, error)
	Logger  log.Logger
}

// Run runs passes until ctx ends. A pass that fails is logged and retried after the interval.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Interval == 0 {
		cfg.Interval = defaultInterval
	}
	timer := time.NewTimer(cfg.Interval / retriesPerInterval)
	defer timer.Stop()

	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			timer.Reset(runPass(ctx, cfg))
		}
	}
}

// runPass prunes and retires once, and returns the delay until the next pass.
func runPass(ctx context.Context, cfg Config) time.Duration {
	if !cfg.IsServiceable() {
		return cfg.Interval / retriesPerInterval
	}

	passCtx, cancel := context.WithTimeout(ctx, passTimeout)
	defer cancel()
	result, err := cfg.Store.Prune(passCtx, cfg.Policy)
	if ctx.Err() != nil {
		return cfg.Interval
	}

	cfg.Observe(result, err)
	if err != nil {
		_ = level.Error(cfg.Logger).Log("msg", "pruning failed", "err", err)
		return cfg.Interval
	}

	if result.Pruned > 0 {
		_ = level.Info(cfg.Logger).Log("msg", "old transitions removed from the history", "changes", result.Pruned)
	}
	for _, t := range result.Retired {
		_ = level.Warn(cfg.Logger).Log(
			"msg", "controller retired",
			"controller_id", t.ControllerID,
			"region", t.Region,
			"from", t.From,
			"silence", t.Silence,
		)
	}

	if result.More {
		return batchPause
	}
	return cfg.Interval
}
