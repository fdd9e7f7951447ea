package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Row is one measurement. Latencies are in milliseconds, CPU times in microseconds for each heartbeat.
type Row struct {
	Part        string  `json:"part"`
	Server      string  `json:"way"`
	Connections int     `json:"connections"`
	Callers     int     `json:"callers"`
	Controllers int     `json:"controllers"`
	Run         int     `json:"run,omitempty"`
	Runs        int     `json:"runs,omitempty"`
	Rate        float64 `json:"heartbeats_per_second"`
	P50         float64 `json:"p50_ms"`
	P99         float64 `json:"p99_ms"`
	P999        float64 `json:"p99_9_ms"`
	ServerCPU   float64 `json:"server_cpu_us"`
	DatabaseCPU float64 `json:"postgres_cpu_us"`
	// Memory is the server's, in KiB for each registered controller.
	Memory    float64 `json:"server_kib_per_controller"`
	Commits   float64 `json:"commits_per_second"`
	Errors    int     `json:"errors"`
	Unhealthy int     `json:"unhealthy"`
}

func (r Row) String() string {
	return fmt.Sprintf("%-7s %-10s %5d conns %5d callers %6d mcs %9.0f/s  p50 %7.2f p99 %7.2f p99.9 %7.2f ms  "+
		"cpu %6.1f us  pg %6.1f us  %6.1f KiB/mc %7.0f commits/s  %d errors %d unhealthy",
		r.Part, r.Server, r.Connections, r.Callers, r.Controllers, r.Rate, r.P50, r.P99, r.P999,
		r.ServerCPU, r.DatabaseCPU, r.Memory, r.Commits, r.Errors, r.Unhealthy)
}

func (r *Row) setLatencies(result loadResult) {
	milliseconds := func(q float64) float64 { return float64(result.quantile(q).Microseconds()) / 1000 }
	r.P50 = milliseconds(.5)
	r.P99 = milliseconds(.99)
	r.P999 = milliseconds(.999)
}

// key returns what the runs of one measurement have in common.
func (r Row) key() Row {
	return Row{Part: r.Part, Server: r.Server, Connections: r.Connections, Callers: r.Callers, Controllers: r.Controllers}
}

// medians merges the runs of each measurement into one row.
func medians(rows []Row) (result []Row) {
	for len(rows) > 0 {
		key := rows[0].key()
		var runs, others []Row
		for _, r := range rows {
			if r.key() == key {
				runs = append(runs, r)
			} else {
				others = append(others, r)
			}
		}
		result = append(result, medianOf(runs))
		rows = others
	}
	return result
}

// medianOf returns a row with the median of each figure. Errors and unhealthy controllers are summed up.
func medianOf(runs []Row) Row {
	median := func(value func(Row) float64) float64 {
		values := make([]float64, len(runs))
		for i, r := range runs {
			values[i] = value(r)
		}
		slices.SortFunc(values, cmp.Compare[float64])
		return values[len(values)/2]
	}

	row := runs[0].key()
	row.Runs = len(runs)
	row.Rate = median(func(r Row) float64 { return r.Rate })
	row.P50 = median(func(r Row) float64 { return r.P50 })
	row.P99 = median(func(r Row) float64 { return r.P99 })
	row.P999 = median(func(r Row) float64 { return r.P999 })
	row.Commits = median(func(r Row) float64 { return r.Commits })
	row.ServerCPU = median(func(r Row) float64 { return r.ServerCPU })
	row.DatabaseCPU = median(func(r Row) float64 { return r.DatabaseCPU })
	row.Memory = median(func(r Row) float64 { return r.Memory })

	for _, r := range runs {
		row.Errors += r.Errors
		row.Unhealthy += r.Unhealthy
	}
	return row
}

// writeResults writes the rows as JSON, as a table and as a picture.
func (b *bench) writeResults(rows []Row) error {
	if b.out == "" {
		return nil
	}
	data, err := json.MarshalIndent(rows, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(b.out, 0o755); err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(b.out, "results.json"), append(data, '\n'), 0o644),
		os.WriteFile(filepath.Join(b.out, "results.md"), []byte(formatTable(rows)), 0o644),
		os.WriteFile(filepath.Join(b.out, "results.svg"), []byte(drawBars(rows)), 0o644),
	)
}

func formatTable(rows []Row) string {
	var b strings.Builder
	b.WriteString("| part | server | connections | callers | controllers | heartbeats/s | p50 ms | p99 ms | p99.9 ms | " +
		"server CPU µs | PostgreSQL CPU µs | KiB/controller | commits/s | errors | unhealthy |\n")
	b.WriteString("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %d | %.0f | %.2f | %.2f | %.2f | %.1f | %.1f | %.1f | %.0f | %d | %d |\n",
			r.Part, r.Server, r.Connections, r.Callers, r.Controllers, r.Rate, r.P50, r.P99, r.P999,
			r.ServerCPU, r.DatabaseCPU, r.Memory, r.Commits, r.Errors, r.Unhealthy)
	}
	return b.String()
}

// barColours are those of the servers in the picture.
var barColours = map[string]string{
	"echo":      "#888888",
	"unary":     "#0072b2",
	"stream":    "#009e73",
	"unbatched": "#d55e00",
	"etcd":      "#cc79a7",
}

// drawBars returns an SVG picture of the closed loops' rates.
func drawBars(rows []Row) string {
	var bars []Row
	maxRate := 1.0
	for _, r := range rows {
		if r.Part == "closed" {
			bars = append(bars, r)
			maxRate = max(maxRate, r.Rate)
		}
	}

	const left, width, height = 260, 620, 22
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="13">`+
		`<rect width="100%%" height="100%%" fill="white"/>`, left+width+20, 40+height*len(bars))
	fmt.Fprintf(&b, `<text x="10" y="20" font-weight="bold">Heartbeats a second, closed loop (median of runs)</text>`)

	for i, r := range bars {
		y := 34 + i*height
		w := r.Rate / maxRate * (width - 90)
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s, %d conns, %d callers</text>`+
			`<rect x="%d" y="%d" width="%.0f" height="%d" fill="%s"/><text x="%.0f" y="%d">%.0f</text>`,
			left-8, y+14, r.Server, r.Connections, r.Callers,
			left, y, w, height-4, barColours[r.Server], left+w+6, y+14, r.Rate)
	}
	b.WriteString("</svg>\n")
	return b.String()
}
