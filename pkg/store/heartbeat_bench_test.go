package store

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"darktower.example/global-controller/internal/testpg"
	"darktower.example/global-controller/service"
)

// runConcurrently calls work n times, on several workers.
func runConcurrently(b *testing.B, workers, n int, work func(i int) error) {
	b.Helper()
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			for i := worker; i < n; i += workers {
				if err := work(i); err != nil {
					b.Errorf("%d: %v", i, err)
				}
			}
		})
	}
	group.Wait()
}

// BenchmarkPostgresPooler compares heartbeats through a PgBouncer in transaction mode with those of a direct connection.
// The two alternate in short rounds, so that both run under the same load.
func BenchmarkPostgresPooler(b *testing.B) {
	for _, workers := range []int{1, 128} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			url := testpg.URL(b)
			pooler := testpg.NewPooler(b, os.Getenv("TEST_DATABASE_URL"), "transaction", 20)
			if err := Migrate(b.Context(), url, nopLogger); err != nil {
				b.Fatal(err)
			}

			var stores []*Store
			for _, address := range []string{url, replaceHost(b, url, pooler.Address())} {
				s, err := New(Config{URL: address})
				if err != nil {
					b.Fatal(err)
				}
				defer func() { _ = s.Close() }()
				stores = append(stores, s)
			}

			const fleet, perRound = 1000, 20
			runConcurrently(b, 20, fleet, func(i int) error {
				_, err := stores[0].Register(b.Context(), registration(fmt.Sprint("mc-", i)), "")
				return err
			})

			took := make([][]time.Duration, len(stores))
			for range b.N {
				for i, s := range stores {
					began := time.Now()
					runConcurrently(b, workers, perRound*workers, func(n int) error {
						_, err := s.Heartbeat(context.Background(), service.HeartbeatWrite{
							ControllerID: fmt.Sprint("mc-", n%fleet), CurrentMeetings: 1, Reported: service.HealthHealthy,
						})
						return err
					})

					took[i] = append(took[i], time.Since(began)/time.Duration(perRound*workers))
				}
			}

			for i, name := range []string{"direct-µs", "pooled-µs"} {
				slices.Sort(took[i])
				b.ReportMetric(float64(took[i][len(took[i])/2].Nanoseconds())/1000, name)
			}
		})
	}
}

// BenchmarkPostgresConnections compares limits of connections: heartbeats of 1,000 controllers, and a burst of 5,000
// registrations.
func BenchmarkPostgresConnections(b *testing.B) {
	url := testpg.URL(b)
	if err := Migrate(b.Context(), url, nopLogger); err != nil {
		b.Fatal(err)
	}

	limits := []int{9, 20}
	stores := make([]*Store, len(limits))
	for i, limit := range limits {
		s, err := New(Config{URL: url, MaxConns: limit})
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		stores[i] = s
	}

	registerTime, heartbeatTime := make([]time.Duration, len(stores)), make([]time.Duration, len(stores))
	for range b.N {
		for i, s := range stores {
			began := time.Now()
			runConcurrently(b, 64, 5000, func(n int) error {
				_, err := s.Register(context.Background(), registration(fmt.Sprint("mc-", n)), "")
				return err
			})

			registerTime[i] += time.Since(began)
			began = time.Now()
			runConcurrently(b, 256, 10000, func(n int) error {
				_, err := s.Heartbeat(context.Background(), heartbeatOf(fmt.Sprint("mc-", n%1000)))
				return err
			})

			heartbeatTime[i] += time.Since(began)
		}
	}

	for i, limit := range limits {
		b.ReportMetric(float64(registerTime[i].Milliseconds())/float64(b.N), fmt.Sprintf("ms/5000-registrations-by-%d", limit))
		b.ReportMetric(float64(heartbeatTime[i].Milliseconds())/float64(b.N), fmt.Sprintf("ms/10000-heartbeats-by-%d", limit))
	}
}
