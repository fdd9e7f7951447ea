package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// readsEach is how often each read is measured.
const readsEach = 30

// get asks for an address and returns the status and the whole body.
func get(ctx context.Context, address, token string) (int, []byte, error) {
	return do(ctx, http.MethodGet, address, token, "")
}

func do(ctx context.Context, method, address, token, body string) (int, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}

	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil, err
	}
	answer, err := io.ReadAll(response.Body)
	return response.StatusCode, answer, errors.Join(err, response.Body.Close())
}

// measureReads asks each question that HTTP answers, with so many changes in the history.
func (s *sized) measureReads(history int) error {
	d, err := s.startDaemon("MC_STALENESS_THRESHOLD_SECONDS=3600")
	if err != nil {
		return err
	}
	defer d.stop()
	token, err := s.token("gc:admin")
	if err != nil {
		return err
	}

	var oldest, newest int64
	if err := s.store.db.QueryRowContext(s.ctx, "SELECT min(id), max(id) FROM controller_transitions").Scan(&oldest, &newest); err != nil {
		return err
	}
	since := url.QueryEscape(time.Now().Add(-time.Hour).UTC().Format(time.RFC3339))
	reads := []struct{ what, path string }{
		{"controllers, first page", "/api/v1/controllers?page_size=100"},
		{"controllers of a region, healthy", "/api/v1/controllers?region=region-3&health=healthy&page_size=100"},
		{"controllers, a state that is rare", "/api/v1/controllers?health=unhealthy&page_size=100"},
		{"one controller", "/api/v1/controllers/mc-000777"},
		{"history, oldest first", fmt.Sprintf("/api/v1/transitions?after=%d", oldest)},
		{"history, the newest", "/api/v1/transitions?order=newest"},
		{"history, after the last but 50", fmt.Sprintf("/api/v1/transitions?after=%d", newest-50)},
		{"history of a region, newest", "/api/v1/transitions?order=newest&region=region-3"},
		{"history of no such region", "/api/v1/transitions?region=nowhere"},
		{"history since an hour", "/api/v1/transitions?since=" + since},
		{"history since an hour, a region", "/api/v1/transitions?region=region-3&since=" + since},
		{"history of a controller", "/api/v1/controllers/mc-000777/transitions"},
		{"history of a controller, newest", "/api/v1/controllers/mc-000777/transitions?order=newest"},
		{"regions", "/api/v1/regions"},
		{"metrics", "/metrics"},
		{"service discovery", "/sd/controllers"},
		{"drain, dry run", ""},
	}
	for _, read := range reads {
		ask := func() (int, []byte, error) { return get(s.ctx, d.http+read.path, token) }
		if read.path == "" {
			ask = func() (int, []byte, error) {
				return do(s.ctx, http.MethodPost, d.http+"/api/v1/controllers/mc-000777/drain", token, `{"dry_run":true}`)
			}
		}
		if err := s.measureRead(read.what, history, ask); err != nil {
			return err
		}
	}
	return nil
}

func (s *sized) measureRead(what string, history int, ask func() (int, []byte, error)) error {
	var (
		times  []time.Duration
		failed string
	)

	for range readsEach {
		began := time.Now()
		status, body, err := ask()
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		times = append(times, time.Since(began))
		if status != http.StatusOK {
			failed = fmt.Sprintf("answered %d %s", status, bytes.TrimSpace(body[:min(len(body), 120)]))
		}
	}

	s.report(timesRow(SizeRow{What: what, Detail: fmt.Sprintf("%d changes", history), Note: failed}, times))
	return nil
}

// timesRow fills in the percentiles of the times.
func timesRow(row SizeRow, times []time.Duration) SizeRow {
	slices.Sort(times)
	at := func(q float64) float64 {
		if len(times) == 0 {
			return 0
		}
		return float64(times[min(len(times)-1, int(q*float64(len(times))))].Microseconds()) / 1000
	}
	row.N, row.P50, row.P99, row.Worst = len(times), at(.5), at(.99), at(1)
	return row
}
