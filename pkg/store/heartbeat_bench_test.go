package store

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	"darktower.example/global-controller/internal/testpg"
	"darktower.example/global-controller/service"
)

// benchStore returns a migrated store over PostgreSQL, reached through BENCH_HOST when that is set, such as a pooler.
func benchStore(b *testing.B) *Store {
	b.Helper()
	url := testpg.URL(b)
	if err := Migrate(b.Context(), url, nopLogger); err != nil {
		b.Fatal(err)
	}
	s, err := New(Config{URL: throughPooler(b, url)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}

func registerBenchFleet(b *testing.B, s *Store, size int) []string {
	b.Helper()
	ids := make([]string, size)
	var group sync.WaitGroup
	errs := make(chan error, size)
	for i := range ids {
		ids[i] = fmt.Sprintf("mc-%05d", i)
		group.Go(func() {
			_, err := s.Register(context.Background(), service.Registration{
				ControllerID: ids[i], Region: "eu-west-1", GRPCEndpoint: "http://10.0.0.1:50052", MaxMeetings: 100, MaxParticipants: 1000,
			}, "bench")
			if err != nil {
				errs <- err
			}
		})
	}
	group.Wait()
	if len(errs) > 0 {
		b.Fatalf("%d of %d registrations failed: %v", len(errs), size, <-errs)
	}
	return ids
}

func beat(id string) service.HeartbeatWrite {
	return service.HeartbeatWrite{ControllerID: id, CurrentMeetings: 1, CurrentParticipants: 10, Reported: service.HealthHealthy, Actor: "bench"}
}

func BenchmarkPostgresHeartbeat_Alone(b *testing.B) {
	s := benchStore(b)
	ids := registerBenchFleet(b, s, 100)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, err := s.Heartbeat(b.Context(), beat(ids[i%len(ids)])); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

func BenchmarkPostgresHeartbeat_Crowd(b *testing.B) {
	s := benchStore(b)
	ids := registerBenchFleet(b, s, 1000)
	b.ReportAllocs()
	b.SetParallelism(128)
	var next sync.Mutex
	n := 0
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			next.Lock()
			n++
			id := ids[n%len(ids)]
			next.Unlock()
			if _, err := s.Heartbeat(context.Background(), beat(id)); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkPostgresRegistrations_FiveThousandAtOnce(b *testing.B) {
	s := benchStore(b)
	for b.Loop() {
		registerBenchFleet(b, s, 5000)
	}
}

// throughPooler replaces the host of a database's address by BENCH_HOST.
func throughPooler(b *testing.B, url string) string {
	b.Helper()
	host := os.Getenv("BENCH_HOST")
	if host == "" {
		return url
	}
	return replaceHost(b, url, host)
}
