package fleetsim

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"
)

// Run runs the scenarios and returns their verdicts in the same order. It prints each verdict when it is complete.
// If ctx ends first, Run returns the verdicts and an error that wraps [ErrInterrupted].
func Run(ctx context.Context, opts Options, scenarios []Scenario) ([]Verdict, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	out := &output{w: opts.Out}
	if opts.Parallel > 1 && len(scenarios) > 1 {
		opts.Terminal = false // Several scenarios cannot redraw the same lines.
	}

	var (
		verdicts = make([]Verdict, len(scenarios))
		slots    = make(chan struct{}, opts.Parallel)
		running  sync.WaitGroup
	)
	for i, s := range scenarios {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			verdicts[i] = runScenario(ctx, opts, s, out)

			out.mu.Lock()
			defer out.mu.Unlock()
			// The summary and the error report an interrupt. A table without checks and notes would add nothing.
			if v := verdicts[i]; !v.IsInterrupted || len(v.Checks)+len(v.Notes) > 0 {
				v.WriteTable(opts.TableOut)
			}
		})
	}
	running.Wait()

	if len(verdicts) > 1 {
		WriteSummary(opts.TableOut, verdicts)
	}
	return verdicts, interruptedError(verdicts)
}

// runScenario runs one scenario in its own environment.
func runScenario(ctx context.Context, opts Options, s Scenario, out *output) (v Verdict) {
	startedAt := time.Now()
	v = Verdict{
		Scenario:    s.Name,
		Summary:     s.Summary,
		Controllers: opts.Controllers,
		Timing:      opts.Timing.String(),
	}
	if ctx.Err() != nil {
		v.IsInterrupted = true
		return v
	}

	env, err := newEnvironment(ctx, opts, s)
	v.Store = env.describeTarget()
	if err == nil {
		err = runWithProgress(ctx, env, s, out, opts.Terminal)
	}

	v.Checks = env.checks
	v.Notes = env.notes
	v.IsInterrupted = ctx.Err() != nil
	// An error after an interrupt is a consequence of the interrupt.
	if err != nil && !v.IsInterrupted {
		v.Error = err.Error()
	}
	v.Seconds = math.Round(10*time.Since(startedAt).Seconds()) / 10
	v.setPassed()

	if !v.Passed && !v.IsInterrupted && env.GlobalController != nil {
		out.print(fmt.Sprintf("the end of the Global Controller's log (%s):\n%s", s.Name, env.GlobalController.Log()))
	}
	if err := env.Close(); err != nil {
		v.Notes = append(v.Notes, "clean-up: "+err.Error())
	}
	return v
}

// runWithProgress runs a scenario and prints its progress meanwhile.
func runWithProgress(ctx context.Context, env *Environment, s Scenario, out *output, isTerminal bool) error {
	progressCtx, stop := context.WithCancel(ctx)
	var progress sync.WaitGroup
	progress.Go(func() { out.showProgress(progressCtx, env, isTerminal) })
	defer progress.Wait()
	defer stop()

	return s.Run(ctx, env)
}
