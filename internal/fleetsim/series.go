package fleetsim

import (
	"math"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
)

const (
	// bucketWidth is the resolution at which calls are counted over time.
	bucketWidth = 100 * time.Millisecond
	// latencyClasses are a factor of 1.25 apart, from 0.1 ms to more than a minute.
	latencyClasses = 62
	latencyFactor  = 1.25
	minLatency     = 100 * time.Microsecond
	knownCodes     = int(codes.Unauthenticated) + 1
)

// bucket counts the calls that began within one bucketWidth.
type bucket struct {
	registrations uint32
	heartbeats    uint32
	codes         [knownCodes]uint32
	latencies     [latencyClasses]uint32 // of acknowledged calls
}

// Series counts calls over time, by when they began. It is safe for concurrent use.
type Series struct {
	mu        sync.Mutex
	startedAt time.Time
	buckets   []bucket
}

// NewSeries returns a series that starts now.
func NewSeries() *Series { return &Series{startedAt: time.Now()} }

// Record counts a call that has ended: a heartbeat or a registration.
func (s *Series) Record(isHeartbeat bool, code codes.Code, began time.Time, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := max(0, int(began.Sub(s.startedAt)/bucketWidth))
	for len(s.buckets) <= i {
		s.buckets = append(s.buckets, bucket{})
	}

	b := &s.buckets[i]
	if isHeartbeat {
		b.heartbeats++
	} else {
		b.registrations++
	}
	b.codes[min(int(code), knownCodes-1)]++
	if code == codes.OK {
		b.latencies[latencyClass(took)]++
	}
}

func latencyClass(took time.Duration) int {
	if took <= minLatency {
		return 0
	}
	class := math.Ceil(math.Log(float64(took)/float64(minLatency)) / math.Log(latencyFactor))
	return min(int(class), latencyClasses-1)
}

// Counts is the sum of a part of a series.
type Counts struct {
	Registrations int
	Heartbeats    int
	Codes         map[codes.Code]int
	Span          time.Duration
	latencies     [latencyClasses]int
}

// Calls returns the number of registrations and heartbeats.
func (c Counts) Calls() int { return c.Registrations + c.Heartbeats }

// Failed returns the number of calls that were not acknowledged.
func (c Counts) Failed() int { return c.Calls() - c.Codes[codes.OK] }

// Rate returns heartbeats per second.
func (c Counts) Rate() float64 {
	return float64(c.Heartbeats) / max(c.Span.Seconds(), bucketWidth.Seconds())
}

// Quantile returns the latency that the share q of the acknowledged calls did not exceed. It is at most a quarter too
// high, and 0 without any call.
func (c Counts) Quantile(q float64) time.Duration {
	total := 0
	for _, n := range c.latencies {
		total += n
	}

	seen := 0
	want := int(math.Ceil(q * float64(total)))
	for class, n := range c.latencies {
		seen += n
		if n > 0 && seen >= want {
			return time.Duration(float64(minLatency) * math.Pow(latencyFactor, float64(class)))
		}
	}
	return 0
}

// CountsBetween sums up the calls that began at or after from and before to.
func (s *Series) CountsBetween(from, to time.Time) Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	first, end := s.bucketRange(from, to)
	sum := Counts{Codes: make(map[codes.Code]int), Span: time.Duration(end-first) * bucketWidth}

	for i := first; i < min(end, len(s.buckets)); i++ {
		b := &s.buckets[i]
		sum.Registrations += int(b.registrations)
		sum.Heartbeats += int(b.heartbeats)
		for code, n := range b.codes {
			if n > 0 {
				sum.Codes[codes.Code(code)] += int(n)
			}
		}

		for class, n := range b.latencies {
			sum.latencies[class] += int(n)
		}
	}
	return sum
}

// PeakRate returns the largest number of heartbeats that began within any one second, acknowledged or not. The second is a
// window that moves in steps of bucketWidth.
func (s *Series) PeakRate(from, to time.Time) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	const width = int(time.Second / bucketWidth)
	first, end := s.bucketRange(from, to)

	peak := 0
	inWindow := 0
	for i := first; i < min(end, len(s.buckets)); i++ {
		inWindow += int(s.buckets[i].heartbeats)
		if i-width >= first {
			inWindow -= int(s.buckets[i-width].heartbeats)
		}
		peak = max(peak, inWindow)
	}
	return float64(peak)
}

// bucketRange returns the index of the first bucket, and that of the first bucket after the last.
func (s *Series) bucketRange(from, to time.Time) (first, end int) {
	return max(0, int(from.Sub(s.startedAt)/bucketWidth)), max(0, int(to.Sub(s.startedAt)/bucketWidth))
}
