package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/metadata"

	"darktower.example/global-controller/pkg/store"
	fleetpb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
)

const (
	sweeps   = 15
	pageSize = 1000
)

// fleet measures what looks at every controller: the checker's sweep, when nobody is silent, and a listing page by page.
func (b *bench) fleet(registered int) ([]Row, error) {
	t, err := b.start("unary", registered)
	if err != nil {
		return nil, err
	}
	defer t.stop()
	swept, err := b.sweep(t, registered)
	if err != nil {
		return nil, fmt.Errorf("sweep: %w", err)
	}
	listed, err := b.list(t, registered)
	if err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	return []Row{swept, listed}, nil
}

func (b *bench) sweep(t *target, registered int) (row Row, err error) {
	s, err := store.New(store.Config{URL: t.url})
	if err != nil {
		return row, err
	}
	defer func() { _ = s.Close() }()
	// No outage is being waited out, and a sweep is always due. The server's first tick makes the row.
	for made := int64(0); made == 0; time.Sleep(100 * time.Millisecond) {
		done, err := t.db.ExecContext(b.ctx, `UPDATE checker_state SET serviceable_since = serviceable_since - interval '1 day'`)
		if err != nil {
			return row, err
		}
		if made, err = done.RowsAffected(); err != nil {
			return row, err
		}
	}
	policy := service.SweepPolicy{Threshold: time.Hour, Interval: time.Nanosecond, Tolerance: time.Minute, Actor: "bench"}
	before, err := t.written(b.ctx)
	if err != nil {
		return row, err
	}
	var l loaded
	began := time.Now()
	for range sweeps {
		one := time.Now()
		result, err := s.Sweep(b.ctx, policy)
		if err != nil {
			return row, err
		}
		if !result.Swept || result.Hold || len(result.Transitions) > 0 {
			return row, fmt.Errorf("not a sweep that finds nobody: %+v", result)
		}
		l.latencies = append(l.latencies, time.Since(one))
	}
	l.took = time.Since(began)
	after, err := t.written(b.ctx)
	if err != nil {
		return row, err
	}
	if before != after {
		return row, fmt.Errorf("the sweeps wrote %d rows of the fleet or its history, want none", after-before)
	}
	return l.fleetRow("sweep", registered), nil
}

func (b *bench) list(t *target, registered int) (row Row, err error) {
	token, err := b.auth.Token("bench", map[string]any{"scope": "gc:read"})
	if err != nil {
		return row, err
	}
	conns, err := connect(t.address, 1)
	if err != nil {
		return row, err
	}
	defer closeAll(conns)
	client := fleetpb.NewFleetServiceClient(conns[0])
	ctx := metadata.AppendToOutgoingContext(b.ctx, "authorization", "Bearer "+token)
	var l loaded
	began, listed := time.Now(), 0
	for next := ""; ; {
		one := time.Now()
		page, err := client.ListControllers(ctx, &fleetpb.ListControllersRequest{PageSize: pageSize, PageToken: next})
		if err != nil {
			return row, err
		}
		l.latencies = append(l.latencies, time.Since(one))
		listed += len(page.GetControllers())
		if next = page.GetNextPageToken(); next == "" {
			break
		}
	}
	l.took = time.Since(began)
	if listed != registered {
		return row, fmt.Errorf("%d controllers are listed, want %d", listed, registered)
	}
	return l.fleetRow("listing", registered), nil
}

func (l loaded) fleetRow(way string, registered int) Row {
	slices.Sort(l.latencies)
	ms := func(q float64) float64 { return float64(l.quantile(q).Microseconds()) / 1000 }
	return Row{Part: "growth", Way: way, Callers: 1, Connections: 1, Controllers: registered, P50: ms(.5), P99: ms(.99), P999: ms(.999), Run: 1}
}

// written is how many rows of the fleet and its history were ever written, once every connection has reported.
func (t *target) written(ctx context.Context) (rows int64, err error) {
	time.Sleep(1500 * time.Millisecond) // PostgreSQL's connections report once a second.
	err = t.db.GetContext(ctx, &rows, `SELECT sum(n_tup_ins + n_tup_upd + n_tup_del)::bigint FROM pg_stat_user_tables WHERE relname IN ('meeting_controllers', 'controller_transitions')`)
	return rows, err
}
