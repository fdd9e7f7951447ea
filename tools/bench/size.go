package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// SizeRow is one figure of the part size. Times are in milliseconds; 0 is "not measured".
type SizeRow struct {
	Store string `json:"store"`
	// What is the operation, Detail what its figures depend on.
	What   string  `json:"what"`
	Detail string  `json:"detail"`
	N      int     `json:"n"`
	P50    float64 `json:"p50_ms"`
	P99    float64 `json:"p99_ms"`
	Worst  float64 `json:"worst_ms"`
	Note   string  `json:"note"`
}

func (r SizeRow) String() string {
	return fmt.Sprintf("%-8s %-34s %-34s n %5d  p50 %9.2f  p99 %9.2f  worst %9.2f ms  %s",
		r.Store, r.What, r.Detail, r.N, r.P50, r.P99, r.Worst, r.Note)
}

// sizeOptions are the sizes of the fleet and its history, and the number of watchers.
type sizeOptions struct {
	controllers      int
	transitions      int
	shortTransitions int
	watchers         int
	lost             int
}

// sizeBench measures a Global Controller over a database of a given size.
type sizeBench struct {
	*bench
	sizeOptions
	store seededStore
	rows  []SizeRow
}

// runSize measures what grows with the fleet, its history and the number of watchers, over both stores.
func (b *bench) runSize(o sizeOptions) error {
	var rows []SizeRow

	for _, name := range strings.Split(b.stores, ",") {
		s := &sizeBench{bench: b, sizeOptions: o}
		if err := s.run(name); err != nil {
			return fmt.Errorf("size over %s: %w", name, err)
		}
		rows = append(rows, s.rows...)
	}
	if b.out == "" {
		return nil
	}

	data, err := json.MarshalIndent(rows, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(
		os.MkdirAll(b.out, 0o755),
		os.WriteFile(filepath.Join(b.out, "at-size.json"), append(data, '\n'), 0o644),
		os.WriteFile(filepath.Join(b.out, "at-size.md"), []byte(formatSizeTable(rows, o)), 0o644),
	)
}

func (s *sizeBench) run(name string) (err error) {
	if s.store, err = s.createStore(name); err != nil {
		return err
	}
	defer s.store.drop()

	steps := []struct {
		name string
		run  func() error
	}{
		{"seed the fleet and the short history", func() error { return s.store.seed(s.ctx, s.controllers, s.shortTransitions) }},
		{"read with a short history", func() error { return s.measureReads(s.shortTransitions) }},
		{"seed the long history", func() error { return s.store.seed(s.ctx, 0, s.transitions-s.shortTransitions) }},
		{"read with a long history", func() error { return s.measureReads(s.transitions) }},
		{"resume watches", s.measureResumes},
		{"mark a fleet that crashed", s.measureFleetCrash},
		{"register a fleet whose table was lost", s.measureTableLoss},
	}

	for _, step := range steps {
		began := time.Now()
		if err := step.run(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Fprintf(os.Stderr, "%s: %s: %s\n", name, step.name, time.Since(began).Round(time.Second))
	}
	return nil
}

// report records and prints one figure.
func (s *sizeBench) report(row SizeRow) {
	row.Store = s.store.name
	s.rows = append(s.rows, row)
	fmt.Println(row)
}

func (s *sizeBench) startDaemon(extra ...string) (*daemon, error) {
	environment := append([]string{
		"DATABASE_URL=" + s.store.url,
		"AC_JWKS_URL=" + s.jwksURL,
		"BIND_ADDRESS=127.0.0.1:0",
		"GC_GRPC_BIND_ADDRESS=127.0.0.1:0",
	}, extra...)
	p, found, err := startProcess(s.ctx, gcServing, environment, s.daemon)
	if err != nil {
		return nil, err
	}

	d := &daemon{process: p, grpc: found[1], http: "http://" + found[2]}
	if err := d.waitReady(s.ctx); err != nil {
		p.stop()
		return nil, err
	}
	return d, nil
}

// newToken returns a token with a scope.
func (s *sizeBench) newToken(scope string) (string, error) {
	claims := map[string]any{"scope": scope}
	if scope == "mc:register" {
		claims["service_type"] = "meeting-controller"
	}
	return s.auth.Token("bench", claims)
}

// daemon is a Global Controller that runs as a process. Its addresses are HOST:PORT for gRPC and a base URL for HTTP.
type daemon struct {
	*process
	grpc string
	http string
}

func (d *daemon) waitReady(ctx context.Context) error {
	deadline := time.Now().Add(30 * time.Second)
	for {
		status, _, err := get(ctx, d.http+"/ready", "")
		switch {
		case err == nil && status == 200:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("not ready within 30 s: status %d: %w", status, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func formatSizeTable(rows []SizeRow, o sizeOptions) string {
	var out strings.Builder
	fmt.Fprintf(&out, "# At size\n\n%d controllers, %d transitions in the history, %d watchers; `make bench BENCHFLAGS='--only size'` "+
		"on two cores, with PostgreSQL and the\nload on the same machine. Times in milliseconds.\n\n"+
		"| store | what | with | n | p50 | p99 | worst | note |\n|---|---|---|--:|--:|--:|--:|---|\n",
		o.controllers, o.transitions, o.watchers)

	for _, r := range rows {
		fmt.Fprintf(&out, "| %s | %s | %s | %d | %.2f | %.2f | %.2f | %s |\n",
			r.Store, r.What, r.Detail, r.N, r.P50, r.P99, r.Worst, r.Note)
	}
	return out.String()
}
