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

// readRepeats is how often each read is measured.
const readRepeats = 30

// get sends a GET request and returns the status and the body.
func get(ctx context.Context, address, token string) (int, []byte, error) {
	return sendRequest(ctx, http.MethodGet, address, token, "")
}

func sendRequest(ctx context.Context, method, address, token, body string) (int, []byte, error) {
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
	content, err := io.ReadAll(response.Body)
	return response.StatusCode, content, errors.Join(err, response.Body.Close())
}

// measureReads measures each read over HTTP with a number of transitions in the history.
func (s *sizeBench) measureReads(transitions int) error {
	d, err := s.startDaemon("MC_STALENESS_THRESHOLD_SECONDS=3600")
	if err != nil {
		return err
	}
	defer d.stop()
	token, err := s.newToken("gc:admin")
	if err != nil {
		return err
	}

	var oldest, newest int64
	row := s.store.db.QueryRowContext(s.ctx, "SELECT min(id), max(id) FROM controller_transitions")
	if err := row.Scan(&oldest, &newest); err != nil {
		return err
	}

	since := url.QueryEscape(time.Now().Add(-time.Hour).UTC().Format(time.RFC3339))
	reads := []struct{ what, path string }{
		{"controllers, first page", "/api/v1/controllers?page_size=100"},
		{"controllers of a region, healthy", "/api/v1/controllers?region=region-3&health=healthy&page_size=100"},
		{"controllers in a rare state", "/api/v1/controllers?health=unhealthy&page_size=100"},
		{"one controller", "/api/v1/controllers/mc-000777"},
		{"history, oldest first", fmt.Sprintf("/api/v1/transitions?after=%d", oldest)},
		{"history, the newest", "/api/v1/transitions?order=newest"},
		{"history, after the last but 50", fmt.Sprintf("/api/v1/transitions?after=%d", newest-50)},
		{"history of a region, newest", "/api/v1/transitions?order=newest&region=region-3"},
		{"history of an unknown region", "/api/v1/transitions?region=nowhere"},
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
		request := func() (int, []byte, error) { return get(s.ctx, d.http+read.path, token) }
		if read.path == "" {
			request = func() (int, []byte, error) {
				return sendRequest(s.ctx, http.MethodPost, d.http+"/api/v1/controllers/mc-000777/drain", token, `{"dry_run":true}`)
			}
		}
		if err := s.measureRead(read.what, transitions, request); err != nil {
			return err
		}
	}
	return nil
}

func (s *sizeBench) measureRead(what string, transitions int, request func() (int, []byte, error)) error {
	var (
		times   []time.Duration
		failure string
	)

	for range readRepeats {
		began := time.Now()
		status, body, err := request()
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		times = append(times, time.Since(began))
		if status != http.StatusOK {
			failure = fmt.Sprintf("status %d: %s", status, bytes.TrimSpace(body[:min(len(body), 120)]))
		}
	}

	s.report(addPercentiles(SizeRow{What: what, Detail: fmt.Sprintf("%d transitions", transitions), Note: failure}, times))
	return nil
}

// addPercentiles returns the row with the percentiles of the times.
func addPercentiles(row SizeRow, times []time.Duration) SizeRow {
	slices.Sort(times)
	quantile := func(q float64) float64 {
		if len(times) == 0 {
			return 0
		}
		return float64(times[min(len(times)-1, int(q*float64(len(times))))].Microseconds()) / 1000
	}

	row.N = len(times)
	row.P50 = quantile(.5)
	row.P99 = quantile(.99)
	row.Worst = quantile(1)
	return row
}
