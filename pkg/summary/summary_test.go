package summary

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"darktower.example/global-controller/service"
)

// fakeSource is a source whose queries take the time took.
type fakeSource struct {
	mu    sync.Mutex
	took  time.Duration
	err   error
	reads int
}

func (s *fakeSource) Regions(ctx context.Context) ([]service.Region, error) {
	s.mu.Lock()
	s.reads++
	took, err, n := s.took, s.err, s.reads
	s.mu.Unlock()

	select {
	case <-time.After(took):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return []service.Region{{Region: "eu", Meetings: service.RegionCapacity{RunningLoad: int64(n)}}}, err
}

func TestSummary_CallersShareOneQuery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := &fakeSource{took: 200 * time.Millisecond}
		s := New(from)

		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if got, err := s.Regions(t.Context()); err != nil || got[0].Meetings.RunningLoad != 1 {
					t.Errorf("Regions() = %v, %v, want the result of the first query", got, err)
				}
			})
		}
		all.Wait()

		if from.reads != 1 {
			t.Errorf("%d queries, want one for all callers", from.reads)
		}
	})
}

func TestSummary_SpacingGrowsWithDuration(t *testing.T) {
	for took, most := range map[time.Duration]int{time.Millisecond: 3100, 200 * time.Millisecond: 16, 3 * time.Second: 8} {
		synctest.Test(t, func(t *testing.T) {
			from := &fakeSource{took: took}
			s := New(from)
			for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
				if _, err := s.Regions(t.Context()); err != nil {
					t.Fatalf("Regions() = %v", err)
				}
			}
			if from.reads > most || from.reads < most/2 {
				t.Errorf("query of %v: %d queries in a minute, want between %d and %d", took, from.reads, most/2, most)
			}
		})
	}
}

func TestSummary_CancelledCallerDoesNotCancelTheQuery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := &fakeSource{took: time.Second}
		s := New(from)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := s.Regions(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Regions() = %v, want the caller's deadline", err)
		}

		if got, err := s.Regions(t.Context()); err != nil || from.reads != 1 {
			t.Errorf("Regions() = %v, %v after %d queries, want the result of the first caller's query", got, err, from.reads)
		}
	})
}

func TestSummary_ErrorIsNotKeptForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := &fakeSource{took: 10 * time.Millisecond, err: service.ErrUnavailable}
		s := New(from)
		if _, err := s.Regions(t.Context()); !errors.Is(err, service.ErrUnavailable) {
			t.Errorf("Regions() = %v, want ErrUnavailable", err)
		}

		from.mu.Lock()
		from.err = nil
		from.mu.Unlock()

		time.Sleep(spacingFactor * 10 * time.Millisecond)
		if _, err := s.Regions(t.Context()); err != nil {
			t.Errorf("Regions() = %v, want no error", err)
		}
	})
}
