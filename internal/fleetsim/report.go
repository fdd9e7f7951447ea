package fleetsim

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// WriteTable prints a verdict as a table of its checks.
func (v *Verdict) WriteTable(w io.Writer) {
	_, _ = fmt.Fprintf(w, "\n%s: %s\n  %d controllers, %s, %s, %.0f s\n", v.Scenario, v.Summary, v.Controllers, v.Store, v.Timing, v.Seconds)

	if len(v.Checks) > 0 {
		rows := [][]string{{"check", "expected", "observed", "result"}}
		for _, check := range v.Checks {
			rows = append(rows, []string{check.Name, check.Expected, check.Observed, formatResult(check.Passed)})
		}
		writeRows(w, rows)
	}
	for _, note := range v.Notes {
		_, _ = fmt.Fprintf(w, "  note: %s\n", note)
	}
	if v.Error != "" {
		_, _ = fmt.Fprintf(w, "  the scenario could not be completed: %s\n", v.Error)
	}
}

// WriteSummary prints one line for each scenario.
func WriteSummary(w io.Writer, verdicts []Verdict) {
	rows := [][]string{{"scenario", "store", "checks passed", "seconds", "result"}}
	for _, v := range verdicts {
		checks := fmt.Sprintf("%d of %d", v.countPassed(), len(v.Checks))
		result := formatResult(v.Passed)
		if v.IsInterrupted {
			checks = "" // The number of checks that the rest of the scenario would have made is unknown.
			result = "interrupted"
		}
		rows = append(rows, []string{v.Scenario, v.Store, checks, fmt.Sprintf("%.0f", v.Seconds), result})
	}

	_, _ = fmt.Fprintln(w)
	writeRows(w, rows)
}

// WriteJSON writes verdicts as a JSON array.
func WriteJSON(w io.Writer, verdicts []Verdict) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(verdicts)
}

// WriteScenarioList prints the names of all scenarios with their summaries.
func WriteScenarioList(w io.Writer) {
	rows := [][]string{{"scenario", "what happens", "needs"}}
	for _, s := range Scenarios() {
		needs := "any Global Controller"
		if s.Needs.OwnGC {
			needs = "its own"
		}
		rows = append(rows, []string{s.Name, s.Summary, needs})
	}
	writeRows(w, rows)
}

// writeRows prints aligned columns. The first row is the header. It counts characters, text/tabwriter counts bytes.
func writeRows(w io.Writer, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}

	writeRow := func(row []string, filler string) {
		var b strings.Builder
		for i, cell := range row {
			b.WriteString("  " + cell + strings.Repeat(filler, widths[i]-utf8.RuneCountInString(cell)))
		}
		_, _ = fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}

	for i, row := range rows {
		writeRow(row, " ")
		if i == 0 {
			writeRow(make([]string, len(row)), "-")
		}
	}
}

func formatResult(passed bool) string {
	if passed {
		return "passed"
	}
	return "FAILED"
}

// formatDuration prints whole seconds as "18 s", other durations as "2.1 s" or "871 ms".
func formatDuration(d time.Duration) string {
	switch {
	case d%time.Second == 0:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d >= time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	default:
		return fmt.Sprintf("%.0f ms", float64(d.Microseconds())/1000)
	}
}

// formatExamples prints at most two of the values in parentheses, and nothing if there are none.
func formatExamples(values []string) string {
	switch {
	case len(values) == 0:
		return ""
	case len(values) > 2:
		return " (" + strings.Join(values[:2], ", ") + ", …)"
	default:
		return " (" + strings.Join(values, ", ") + ")"
	}
}
