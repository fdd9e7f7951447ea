package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Row is one measurement. Latencies are in milliseconds, CPU in microseconds a heartbeat.
type Row struct {
	Part        string  `json:"part"`
	Way         string  `json:"way"`
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
	return fmt.Sprintf("%-7s %-10s %5d conns %5d callers %6d mcs %9.0f/s  p50 %7.2f p99 %7.2f p99.9 %7.2f ms  cpu %6.1f us  pg %6.1f us  %6.1f KiB/mc %7.0f commits/s  %d errors %d unhealthy",
		r.Part, r.Way, r.Connections, r.Callers, r.Controllers, r.Rate, r.P50, r.P99, r.P999, r.ServerCPU, r.DatabaseCPU, r.Memory, r.Commits, r.Errors, r.Unhealthy)
}

// meter reads what a measurement costs.
type meter struct {
	b          *bench
	t          *target
	postmaster int
	server, db time.Duration
	commits    int64
	memory     int64
}

func (b *bench) meter(t *target) *meter {
	m := &meter{b: b, t: t}
	var backend int
	if b.admin.Get(&backend, "SELECT pg_backend_pid()") == nil {
		if fields, err := stat(backend); err == nil {
			_, _ = fmt.Sscan(fields[1], &m.postmaster)
		}
	}
	return m
}

func (m *meter) read() (server, db time.Duration, commits int64) {
	server, _ = cpu(m.t.cmd.Process.Pid)
	if m.t.db != nil {
		db = family(m.postmaster)
		_ = m.t.db.Get(&commits, "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
	}
	return server, db, commits
}

func (m *meter) begin() { m.server, m.db, m.commits = m.read() }

func (m *meter) end() {
	server, db, commits := m.read()
	m.server, m.db, m.commits = server-m.server, db-m.db, commits-m.commits
	m.memory = resident(m.t.cmd.Process.Pid)
}

func (m *meter) row(r Row, l loaded) (Row, error) {
	n := float64(len(l.latencies))
	if n == 0 {
		return r, fmt.Errorf("nothing was answered: %w", l.lastError)
	}
	ms := func(q float64) float64 { return float64(l.quantile(q).Microseconds()) / 1000 }
	r.Rate, r.P50, r.P99, r.P999 = n/l.took.Seconds(), ms(.5), ms(.99), ms(.999)
	r.ServerCPU, r.DatabaseCPU = float64(m.server.Microseconds())/n, float64(m.db.Microseconds())/n
	r.Memory, r.Commits, r.Errors = float64(m.memory)/1024/float64(r.Controllers), float64(m.commits)/l.took.Seconds(), l.errors
	if l.lastError != nil {
		fmt.Println("last error:", l.lastError)
	}
	if m.t.db != nil {
		if err := m.t.db.Get(&r.Unhealthy, "SELECT count(*) FROM controller_transitions WHERE to_status = 'unhealthy'"); err != nil {
			return r, err
		}
		if r.Part == "closed" {
			// Rows that no caller beats for are silent, and rightly called so.
			r.Unhealthy = 0
		}
	}
	return r, nil
}

// medians puts the runs of one measurement together.
func medians(rows []Row) []Row {
	var result []Row
	for len(rows) > 0 {
		same := func(r Row) Row {
			return Row{Part: r.Part, Way: r.Way, Connections: r.Connections, Callers: r.Callers, Controllers: r.Controllers}
		}
		key := same(rows[0])
		var runs, others []Row
		for _, r := range rows {
			if same(r) == key {
				runs = append(runs, r)
			} else {
				others = append(others, r)
			}
		}
		middle := func(value func(Row) float64) float64 {
			values := make([]float64, len(runs))
			for i, r := range runs {
				values[i] = value(r)
			}
			slices.SortFunc(values, cmp.Compare[float64])
			return values[len(values)/2]
		}
		key.Runs = len(runs)
		key.Rate, key.P50, key.P99 = middle(func(r Row) float64 { return r.Rate }), middle(func(r Row) float64 { return r.P50 }), middle(func(r Row) float64 { return r.P99 })
		key.P999, key.Commits = middle(func(r Row) float64 { return r.P999 }), middle(func(r Row) float64 { return r.Commits })
		key.ServerCPU, key.DatabaseCPU = middle(func(r Row) float64 { return r.ServerCPU }), middle(func(r Row) float64 { return r.DatabaseCPU })
		key.Memory = middle(func(r Row) float64 { return r.Memory })
		for _, r := range runs {
			key.Errors += r.Errors
			key.Unhealthy += r.Unhealthy
		}
		result, rows = append(result, key), others
	}
	return result
}

func table(rows []Row) string {
	var b strings.Builder
	b.WriteString("| part | server | connections | callers | controllers | heartbeats/s | p50 ms | p99 ms | p99.9 ms | server CPU µs | PostgreSQL CPU µs | KiB/controller | commits/s | errors | unhealthy |\n")
	b.WriteString("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %d | %.0f | %.2f | %.2f | %.2f | %.1f | %.1f | %.1f | %.0f | %d | %d |\n",
			r.Part, r.Way, r.Connections, r.Callers, r.Controllers, r.Rate, r.P50, r.P99, r.P999, r.ServerCPU, r.DatabaseCPU, r.Memory, r.Commits, r.Errors, r.Unhealthy)
	}
	return b.String()
}

// picture draws the closed loops' rates as bars.
func picture(rows []Row) string {
	colours := map[string]string{"echo": "#888888", "unary": "#0072b2", "stream": "#009e73", "unbatched": "#d55e00", "etcd": "#cc79a7"}
	var bars []Row
	most := 1.0
	for _, r := range rows {
		if r.Part == "closed" {
			bars, most = append(bars, r), max(most, r.Rate)
		}
	}
	const left, width, height = 260, 620, 22
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="13"><rect width="100%%" height="100%%" fill="white"/>`, left+width+20, 40+height*len(bars))
	fmt.Fprintf(&b, `<text x="10" y="20" font-weight="bold">Heartbeats a second, closed loop (median of runs)</text>`)
	for i, r := range bars {
		y := 34 + i*height
		w := r.Rate / most * (width - 90)
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s, %d conns, %d callers</text><rect x="%d" y="%d" width="%.0f" height="%d" fill="%s"/><text x="%.0f" y="%d">%.0f</text>`,
			left-8, y+14, r.Way, r.Connections, r.Callers, left, y, w, height-4, colours[r.Way], left+w+6, y+14, r.Rate)
	}
	b.WriteString("</svg>\n")
	return b.String()
}
