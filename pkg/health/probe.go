package health

import (
	"context"
	"maps"
	"sync/atomic"
	"time"
)

// probeTimeout bounds one look at everything that is needed.
const probeTimeout = 2 * time.Second

// StateOK is what a probe says of what works.
const StateOK = "ok"

// Probe looks, once a second, whether what the service needs is there. Asking it costs nothing, so that anybody may.
type Probe struct {
	checks map[string]func(ctx context.Context) string
	state  atomic.Pointer[map[string]string]
}

// NewProbe returns a probe over checks, each of which answers [StateOK] or a word for what is wrong. Until the first
// look everything is "starting".
func NewProbe(checks map[string]func(ctx context.Context) string) *Probe {
	p := &Probe{checks: checks}
	state := make(map[string]string, len(checks))
	for name := range checks {
		state[name] = "starting"
	}
	p.state.Store(&state)
	return p
}

// State returns what the last look found.
func (p *Probe) State() map[string]string { return maps.Clone(*p.state.Load()) }

// Look looks now.
func (p *Probe) Look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	state := make(map[string]string, len(p.checks))
	for name, check := range p.checks {
		state[name] = check(ctx)
	}
	p.state.Store(&state)
}

// Run looks until ctx ends, and tells after each look whether everything was well.
func (p *Probe) Run(ctx context.Context, tell func(ready bool)) error {
	ticker := time.NewTicker(BeatInterval)
	defer ticker.Stop()
	for {
		p.Look(ctx)
		ready := true
		for _, state := range p.State() {
			ready = ready && state == StateOK
		}
		tell(ready)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
