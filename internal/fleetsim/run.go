package fleetsim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"time"
)

// Run plays the scenarios and returns their verdicts in the same order, also when ctx ends, which is [ErrInterrupted].
// Each verdict is printed as soon as it is there.
func Run(ctx context.Context, opts Options, scenarios []Scenario) ([]Verdict, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	out := &output{w: opts.Out}
	if opts.Parallel > 1 && len(scenarios) > 1 {
		opts.Terminal = false // One cannot redraw several.
	}
	var (
		verdicts = make([]Verdict, len(scenarios))
		slots    = make(chan struct{}, opts.Parallel)
		all      sync.WaitGroup
	)
	for i, s := range scenarios {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			verdicts[i] = play(ctx, opts, s, out)
			out.mu.Lock()
			defer out.mu.Unlock()
			// An interrupt is told once, at the end, and an empty table tells nothing.
			if v := verdicts[i]; !v.Interrupted || len(v.Promises)+len(v.Notes) > 0 {
				v.WriteTable(opts.TableOut)
			}
		})
	}
	all.Wait()
	if len(verdicts) > 1 {
		WriteSummary(opts.TableOut, verdicts)
	}
	return verdicts, interrupted(verdicts)
}

// play plays one scenario in a world of its own.
func play(ctx context.Context, opts Options, s Scenario, out *output) (v Verdict) {
	began := time.Now()
	v = Verdict{Scenario: s.Name, Summary: s.Summary, MCs: opts.MCs, Timing: opts.Timing.String()}
	if ctx.Err() != nil {
		v.Interrupted = true // Before it began: there is nothing to start.
		return v
	}
	w, err := newWorld(ctx, opts, s)
	v.Store = w.where()
	if err == nil {
		err = w.play(ctx, opts, s, out)
	}
	v.Promises, v.Notes = w.promises, w.notes
	// What goes wrong from an interrupt on says nothing about anybody but the one who interrupts.
	if v.Interrupted = ctx.Err() != nil; err != nil && !v.Interrupted {
		v.Error = err.Error()
	}
	v.Seconds = math.Round(10*time.Since(began).Seconds()) / 10
	v.judge()
	if !v.Kept && !v.Interrupted && w.GC != nil {
		out.print(fmt.Sprintf("the end of the Global Controller's log (%s):\n%s", s.Name, w.GC.Log()))
	}
	if err := w.Close(); err != nil {
		v.Notes = append(v.Notes, "clean-up: "+err.Error())
	}
	return v
}

func (w *World) play(ctx context.Context, opts Options, s Scenario, out *output) error {
	showing, stop := context.WithCancel(ctx)
	var shown sync.WaitGroup
	shown.Go(func() { out.show(showing, w, opts.Terminal) })
	defer shown.Wait()
	defer stop()
	return s.Run(ctx, w)
}

// Broken returns an error when a promise was.
func Broken(verdicts []Verdict) error {
	broken := 0
	for _, v := range verdicts {
		if !v.Kept && !v.Interrupted {
			broken++
		}
	}
	if broken == 0 {
		return nil
	}
	return fmt.Errorf("%w in %d of %d scenarios", ErrBroken, broken, len(verdicts))
}

// interrupted returns an error when a scenario was.
func interrupted(verdicts []Verdict) error {
	n := 0
	for _, v := range verdicts {
		if v.Interrupted {
			n++
		}
	}
	switch {
	case n == 0:
		return nil
	case len(verdicts) == 1:
		return fmt.Errorf("%w before the end of %s", ErrInterrupted, verdicts[0].Scenario)
	}
	return fmt.Errorf("%w before the end of %d of %d scenarios", ErrInterrupted, n, len(verdicts))
}

// ErrBroken is what [Broken] wraps, ErrInterrupted what [Run] wraps when it was ended before all was played.
var (
	ErrBroken      = errors.New("promises were broken")
	ErrInterrupted = errors.New("interrupted")
)

// WriteList prints the scenarios.
func WriteList(w io.Writer) {
	rows := [][]string{{"scenario", "what happens", "needs"}}
	for _, s := range Scenarios() {
		needs := "any Global Controller"
		if s.Needs.Own {
			needs = "its own"
		}
		rows = append(rows, []string{s.Name, s.Summary, needs})
	}
	writeRows(w, rows)
}
