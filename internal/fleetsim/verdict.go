package fleetsim

import (
	"errors"
	"fmt"
)

var (
	// ErrChecksFailed is wrapped by the errors of [VerdictsError].
	ErrChecksFailed = errors.New("checks failed")
	// ErrInterrupted is wrapped by the errors of [Run] if its context ended before all scenarios were complete.
	ErrInterrupted = errors.New("interrupted")
)

// Check compares what a scenario expects of the Global Controller and the SDK with what it observed. The JSON keys of Check
// and [Verdict] are stable: programs read them.
type Check struct {
	Name     string `json:"promise"`
	Expected string `json:"promised"`
	Observed string `json:"observed"`
	Passed   bool   `json:"kept"`
}

// Verdict is the result of a scenario.
type Verdict struct {
	Scenario    string   `json:"scenario"`
	Summary     string   `json:"summary"`
	Store       string   `json:"store"`
	Controllers int      `json:"mcs"`
	Timing      string   `json:"timing"`
	Seconds     float64  `json:"seconds"`
	Checks      []Check  `json:"promises"`
	Notes       []string `json:"notes,omitempty"`
	// Error is why the scenario could not be completed.
	Error string `json:"error,omitempty"`
	// IsInterrupted is set if the context ended before the scenario was complete. It then has neither passed nor failed.
	IsInterrupted bool `json:"interrupted,omitempty"`
	Passed        bool `json:"kept"`
}

// setPassed sets Passed if all checks have passed. A scenario without checks, or an incomplete one, has not passed.
func (v *Verdict) setPassed() {
	v.Passed = v.Error == "" && !v.IsInterrupted && len(v.Checks) > 0
	for _, check := range v.Checks {
		v.Passed = v.Passed && check.Passed
	}
}

// countPassed counts the checks that have passed.
func (v *Verdict) countPassed() (n int) {
	for _, check := range v.Checks {
		if check.Passed {
			n++
		}
	}
	return n
}

// VerdictsError returns an error if a scenario has failed. Interrupted scenarios do not count.
func VerdictsError(verdicts []Verdict) error {
	failed := 0
	for _, v := range verdicts {
		if !v.Passed && !v.IsInterrupted {
			failed++
		}
	}
	if failed == 0 {
		return nil
	}
	return fmt.Errorf("%w in %d of %d scenarios", ErrChecksFailed, failed, len(verdicts))
}

// interruptedError returns an error if a scenario was interrupted.
func interruptedError(verdicts []Verdict) error {
	interrupted := 0
	for _, v := range verdicts {
		if v.IsInterrupted {
			interrupted++
		}
	}

	switch {
	case interrupted == 0:
		return nil
	case len(verdicts) == 1:
		return fmt.Errorf("%w before the end of %s", ErrInterrupted, verdicts[0].Scenario)
	}
	return fmt.Errorf("%w before the end of %d of %d scenarios", ErrInterrupted, interrupted, len(verdicts))
}
