//go:build !race

package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/go-kit/log"

	"darktower.example/global-controller/internal/testpg"
	"darktower.example/global-controller/pkg/store"
	"darktower.example/global-controller/service"
)

// TestWatchReadsAtSize measures the reads of a large fleet for watches, metrics and the page.
func TestWatchReadsAtSize(t *testing.T) {
	if *sizeControllers == 0 {
		return // It takes a while, and other tests would distort it.
	}
	url := testpg.URL(t)
	if err := store.Migrate(t.Context(), url, log.NewNopLogger()); err != nil {
		t.Fatal(err)
	}
	seedFleet(t, url, *sizeControllers)

	s, err := store.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	db := openDatabase(t, url)
	var since time.Time
	update := func() {
		if err := db.QueryRowContext(t.Context(), `SELECT clock_timestamp()`).Scan(&since); err != nil {
			t.Fatal(err)
		}
		execute(t, url, `UPDATE meeting_controllers SET current_meetings = (current_meetings + 1) % 90, last_heartbeat_at = clock_timestamp()
			WHERE right(controller_id, 1) IN ('1', '2')`)
	}

	for name, read := range map[string]func(context.Context) (int, error){
		"regions":          func(ctx context.Context) (int, error) { found, err := s.Regions(ctx); return len(found), err },
		"poll of a fifth":  func(ctx context.Context) (int, error) { return pollAtSize(ctx, s, since) },
		"one page of 1000": func(ctx context.Context) (int, error) { return pageAtSize(ctx, s) },
	} {
		var took []time.Duration
		n := 0
		for range 7 {
			update()
			began := time.Now()
			var err error
			if n, err = read(t.Context()); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			took = append(took, time.Since(began))
		}
		t.Logf("%s of %d controllers: %d rows, p50 %v, least %v", name, *sizeControllers, n, percentile(took, 50), percentile(took, 0))
	}
}

func pageAtSize(ctx context.Context, s *store.Store) (int, error) {
	found, err := s.Controllers(ctx, service.ControllerFilter{AfterID: "seed-020000", Limit: 1000})
	return len(found), err
}

func pollAtSize(ctx context.Context, s *store.Store, since time.Time) (int, error) {
	found, err := s.ControllersUpdated(ctx, since)
	return len(found), err
}
