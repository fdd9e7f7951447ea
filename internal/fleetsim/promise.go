package fleetsim

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// Promise is what a scenario holds the Global Controller and the SDK to, and what it saw.
type Promise struct {
	Promise  string `json:"promise"`
	Promised string `json:"promised"`
	Observed string `json:"observed"`
	Kept     bool   `json:"kept"`
}

// Verdict is how a scenario ended.
type Verdict struct {
	Scenario string    `json:"scenario"`
	Summary  string    `json:"summary"`
	Store    string    `json:"store"`
	MCs      int       `json:"mcs"`
	Timing   string    `json:"timing"`
	Seconds  float64   `json:"seconds"`
	Promises []Promise `json:"promises"`
	Notes    []string  `json:"notes,omitempty"`
	Error    string    `json:"error,omitempty"` // why the scenario could not be played to its end
	// Interrupted: somebody ended the scenario, so that it is not kept, but neither broken.
	Interrupted bool `json:"interrupted,omitempty"`
	Kept        bool `json:"kept"`
}

// judge fills in whether all was kept. A scenario that promised nothing, or did not come to its end, proves nothing.
func (v *Verdict) judge() {
	v.Kept = v.Error == "" && !v.Interrupted && len(v.Promises) > 0
	for _, p := range v.Promises {
		v.Kept = v.Kept && p.Kept
	}
}

func word(kept bool) string {
	if kept {
		return "kept"
	}
	return "BROKEN"
}

// WriteTable prints a verdict for people.
func (v *Verdict) WriteTable(w io.Writer) {
	rows := [][]string{{"promise", "promised", "observed", ""}}
	for _, p := range v.Promises {
		rows = append(rows, []string{p.Promise, p.Promised, p.Observed, word(p.Kept)})
	}
	_, _ = fmt.Fprintf(w, "\n%s: %s\n  %d controllers, %s, %s, %.0f s\n", v.Scenario, v.Summary, v.MCs, v.Store, v.Timing, v.Seconds)
	if len(v.Promises) > 0 {
		writeRows(w, rows)
	}
	for _, note := range v.Notes {
		_, _ = fmt.Fprintf(w, "  note: %s\n", note)
	}
	if v.Error != "" {
		_, _ = fmt.Fprintf(w, "  the scenario did not come to its end: %s\n", v.Error)
	}
}

// WriteSummary prints a line for each of several scenarios.
func WriteSummary(w io.Writer, verdicts []Verdict) {
	rows := [][]string{{"scenario", "store", "promises", "seconds", ""}}
	for _, v := range verdicts {
		kept := 0
		for _, p := range v.Promises {
			if p.Kept {
				kept++
			}
		}
		row := []string{v.Scenario, v.Store, fmt.Sprintf("%d of %d", kept, len(v.Promises)), fmt.Sprintf("%.0f", v.Seconds), word(v.Kept)}
		if v.Interrupted {
			row[2], row[4] = "", "interrupted" // How many there would have been nobody knows.
		}
		rows = append(rows, row)
	}
	_, _ = fmt.Fprintln(w)
	writeRows(w, rows)
}

// WriteJSON prints verdicts for programs.
func WriteJSON(w io.Writer, verdicts []Verdict) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(verdicts)
}

// writeRows prints columns; the first row heads them. text/tabwriter would count bytes where people see letters.
func writeRows(w io.Writer, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	line := func(row []string, filler string) {
		var b strings.Builder
		for i, cell := range row {
			b.WriteString("  " + cell + strings.Repeat(filler, widths[i]-utf8.RuneCountInString(cell)))
		}
		_, _ = fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
	for i, row := range rows {
		line(row, " ")
		if i == 0 {
			line(make([]string, len(row)), "-")
		}
	}
}

// short prints a duration as people would say it.
func short(d time.Duration) string {
	switch {
	case d%time.Second == 0:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d >= time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	default:
		return fmt.Sprintf("%.0f ms", float64(d.Microseconds())/1000)
	}
}
