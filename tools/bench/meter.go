package main

import (
	"fmt"
	"time"
)

// meter measures what a load costs a server and its database.
type meter struct {
	bench      *bench
	target     *target
	postmaster int // process id of PostgreSQL's main process
	before     usage
	used       usage
	memory     int64 // of the server, in bytes
}

// usage has counters that only grow.
type usage struct {
	serverCPU   time.Duration
	databaseCPU time.Duration
	commits     int64
}

func (b *bench) newMeter(t *target) *meter {
	m := &meter{bench: b, target: t}
	var backend int
	if b.admin.Get(&backend, "SELECT pg_backend_pid()") == nil {
		if fields, err := readStat(backend); err == nil {
			_, _ = fmt.Sscan(fields[1], &m.postmaster)
		}
	}
	return m
}

func (m *meter) read() (u usage) {
	u.serverCPU, _ = cpuTime(m.target.cmd.Process.Pid)
	if m.target.db != nil {
		u.databaseCPU = cpuTimeWithChildren(m.postmaster)
		_ = m.target.db.Get(&u.commits, "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
	}
	return u
}

func (m *meter) begin() { m.before = m.read() }

func (m *meter) end() {
	now := m.read()
	m.used = usage{
		serverCPU:   now.serverCPU - m.before.serverCPU,
		databaseCPU: now.databaseCPU - m.before.databaseCPU,
		commits:     now.commits - m.before.commits,
	}
	m.memory = residentBytes(m.target.cmd.Process.Pid)
}

// completeRow adds the measurements to a row.
func (m *meter) completeRow(row Row, result loadResult) (Row, error) {
	heartbeats := float64(len(result.latencies))
	if heartbeats == 0 {
		return row, fmt.Errorf("no heartbeat was acknowledged: %w", result.lastError)
	}
	if result.lastError != nil {
		fmt.Println("last error:", result.lastError)
	}

	row.setLatencies(result)
	row.Rate = heartbeats / result.took.Seconds()
	row.ServerCPU = float64(m.used.serverCPU.Microseconds()) / heartbeats
	row.DatabaseCPU = float64(m.used.databaseCPU.Microseconds()) / heartbeats
	row.Memory = float64(m.memory) / 1024 / float64(row.Controllers)
	row.Commits = float64(m.used.commits) / result.took.Seconds()
	row.Errors = result.errors

	// In a closed loop, controllers for which no caller sends heartbeats are unhealthy, as they should be.
	if m.target.db != nil && row.Part != "closed" {
		err := m.target.db.Get(&row.Unhealthy, "SELECT count(*) FROM controller_transitions WHERE to_status = 'unhealthy'")
		if err != nil {
			return row, err
		}
	}
	return row, nil
}
