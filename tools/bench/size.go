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

// SizeRow is one figure at size. Times are in milliseconds; zero stands for "not measured".
type SizeRow struct {
	Store string `json:"store"`
	// What names the operation, and Detail what the figure depends on.
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

// sizeOptions say how large the fleet, its history and its audience are.
type sizeOptions struct {
	controllers, history, small, subscribers, lost int
}

// sized is a Global Controller over a database of a given size.
type sized struct {
	*bench
	sizeOptions
	store sizedStore
	rows  []SizeRow
}

// runSize measures what grows with the fleet, its history and its subscribers, over both stores.
func (b *bench) runSize(o sizeOptions) error {
	var rows []SizeRow

	for _, name := range strings.Split(b.stores, ",") {
		s := &sized{bench: b, sizeOptions: o}
		if err := s.run(name); err != nil {
			return fmt.Errorf("at size over %s: %w", name, err)
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
		os.WriteFile(filepath.Join(b.out, "at-size.md"), []byte(sizeTable(rows, o)), 0o644),
	)
}

func (s *sized) run(name string) (err error) {
	if s.store, err = s.createStore(name); err != nil {
		return err
	}
	defer s.store.drop()

	steps := []struct {
		name string
		run  func() error
	}{
		{"seed the fleet and the short history", func() error { return s.store.seed(s.ctx, s.controllers, s.small) }},
		{"read with a short history", func() error { return s.measureReads(s.small) }},
		{"seed the long history", func() error { return s.store.seed(s.ctx, 0, s.history-s.small) }},
		{"read with a long history", func() error { return s.measureReads(s.history) }},
		{"resume subscribers", s.measureResumes},
		{"mark a fleet that stopped", s.measureDeath},
		{"register a fleet that was lost", s.measureLoss},
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
func (s *sized) report(row SizeRow) {
	row.Store = s.store.name
	s.rows = append(s.rows, row)
	fmt.Println(row)
}

func (s *sized) startDaemon(extra ...string) (*daemon, error) {
	environment := append([]string{
		"DATABASE_URL=" + s.store.url, "AC_JWKS_URL=" + s.jwks, "BIND_ADDRESS=127.0.0.1:0", "GC_GRPC_BIND_ADDRESS=127.0.0.1:0",
	}, extra...)
	p, found, err := start(s.ctx, serving, environment, s.daemon)
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

// token returns a token with the scopes.
func (s *sized) token(scope string) (string, error) {
	claims := map[string]any{"scope": scope}
	if scope == "mc:register" {
		claims["service_type"] = "meeting-controller"
	}
	return s.auth.Token("bench", claims)
}

// daemon is a Global Controller that runs as a process of its own.
type daemon struct {
	*process
	grpc, http string
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

func sizeTable(rows []SizeRow, o sizeOptions) string {
	var out strings.Builder
	fmt.Fprintf(&out, "# At size\n\n%d controllers, %d changes of history, %d subscribers; `make bench BENCHFLAGS='--only size'` "+
		"on two cores, with PostgreSQL and the\nload on the same machine. Times in milliseconds.\n\n"+
		"| store | what | with | n | p50 | p99 | worst | note |\n|---|---|---|--:|--:|--:|--:|---|\n",
		o.controllers, o.history, o.subscribers)
	for _, r := range rows {
		fmt.Fprintf(&out, "| %s | %s | %s | %d | %.2f | %.2f | %.2f | %s |\n", r.Store, r.What, r.Detail, r.N, r.P50, r.P99, r.Worst, r.Note)
	}
	return out.String()
}
