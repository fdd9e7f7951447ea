// Package retention removes what need not be kept any longer.
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
	// soon is the part of the interval after which the first pass comes.
	soon = 10
	// pause leaves room for others between the batches of a large removal.
	pause = 100 * time.Millisecond
	// bound is how long a pass may take. The store's own bound is shorter.
	bound = 30 * time.Second
)

// Config is what the removal needs.
type Config struct {
	Store  service.Pruner
	Policy service.RetentionPolicy
	// Interval is how far apart passes are when there is nothing left to remove; 0 stands for a minute.
	Interval time.Duration
	// Serviceable tells whether the store can be used now.
	Serviceable func() bool
	// Observe is told of each pass.
	Observe func(service.RetentionResult, error)
	Logger  log.Logger
}

// Run removes until ctx ends. Trouble is reported, and tried again.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Interval == 0 {
		cfg.Interval = defaultInterval
	}
	timer := time.NewTimer(cfg.Interval / soon)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			timer.Reset(pass(ctx, cfg))
		}
	}
}

// pass returns how long to wait until the next one.
func pass(ctx context.Context, cfg Config) time.Duration {
	if !cfg.Serviceable() {
		return cfg.Interval / soon
	}
	bounded, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	result, err := cfg.Store.Prune(bounded, cfg.Policy)
	if ctx.Err() != nil {
		return cfg.Interval
	}
	cfg.Observe(result, err)
	if err != nil {
		_ = level.Error(cfg.Logger).Log("msg", "old records could not be removed", "err", err)
		return cfg.Interval
	}
	if result.Pruned > 0 {
		_ = level.Info(cfg.Logger).Log("msg", "history pruned", "changes", result.Pruned)
	}
	for _, t := range result.Retired {
		_ = level.Warn(cfg.Logger).Log("msg", "controller retired", "controller_id", t.ControllerID, "region", t.Region, "from", t.From, "silence", t.Silence)
	}
	if result.More {
		return pause
	}
	return cfg.Interval
}
