package fleetsim

import (
	"math"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
)

const (
	// bucketWidth is how finely calls are counted over time.
	bucketWidth = 100 * time.Millisecond
	// latencyClasses are a factor of 1.25 apart, from 0.1 ms to more than a minute.
	latencyClasses = 62
	latencyFactor  = 1.25
	latencyLeast   = 100 * time.Microsecond
	knownCodes     = int(codes.Unauthenticated) + 1
)

// bucket is what began within one width.
type bucket struct {
	registrations, heartbeats uint32
	codes                     [knownCodes]uint32
	took                      [latencyClasses]uint32 // of those that were acknowledged
}

// Series counts calls over time, by when they began. It takes calls from many goroutines.
type Series struct {
	mu      sync.Mutex
	began   time.Time
	buckets []bucket
}

// NewSeries begins now.
func NewSeries() *Series { return &Series{began: time.Now()} }

// Add counts a call that ended.
func (s *Series) Add(heartbeat bool, code codes.Code, began time.Time, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := max(0, int(began.Sub(s.began)/bucketWidth))
	for len(s.buckets) <= i {
		s.buckets = append(s.buckets, bucket{})
	}
	b := &s.buckets[i]
	if heartbeat {
		b.heartbeats++
	} else {
		b.registrations++
	}
	b.codes[min(int(code), knownCodes-1)]++
	if code == codes.OK {
		b.took[latencyClass(took)]++
	}
}

func latencyClass(took time.Duration) int {
	if took <= latencyLeast {
		return 0
	}
	class := math.Ceil(math.Log(float64(took)/float64(latencyLeast)) / math.Log(latencyFactor))
	return min(int(class), latencyClasses-1)
}

// Counts is what a stretch of a series adds up to.
type Counts struct {
	Registrations, Heartbeats int
	Codes                     map[codes.Code]int
	Span                      time.Duration
	took                      [latencyClasses]int
}

// Calls are the registrations and heartbeats together.
func (c Counts) Calls() int { return c.Registrations + c.Heartbeats }

// Failed counts the calls that were not acknowledged.
func (c Counts) Failed() int { return c.Calls() - c.Codes[codes.OK] }

// Rate is heartbeats per second.
func (c Counts) Rate() float64 {
	return float64(c.Heartbeats) / max(c.Span.Seconds(), bucketWidth.Seconds())
}

// Quantile is the time in which the share q of the acknowledged calls was answered, to within a quarter; 0 without any.
func (c Counts) Quantile(q float64) time.Duration {
	total := 0
	for _, n := range c.took {
		total += n
	}
	seen, want := 0, int(math.Ceil(q*float64(total)))
	for class, n := range c.took {
		if seen += n; n > 0 && seen >= want {
			return time.Duration(float64(latencyLeast) * math.Pow(latencyFactor, float64(class)))
		}
	}
	return 0
}

// Between adds up the calls that began from one time to before another.
func (s *Series) Between(from, to time.Time) Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	first, last := s.indices(from, to)
	sum := Counts{Codes: make(map[codes.Code]int), Span: time.Duration(last-first) * bucketWidth}
	for i := first; i < min(last, len(s.buckets)); i++ {
		b := &s.buckets[i]
		sum.Registrations += int(b.registrations)
		sum.Heartbeats += int(b.heartbeats)
		for code, n := range b.codes {
			if n > 0 {
				sum.Codes[codes.Code(code)] += int(n)
			}
		}
		for class, n := range b.took {
			sum.took[class] += int(n)
		}
	}
	return sum
}

// Peak is the most heartbeats that began within any one second of a stretch of time, whether they were acknowledged or
// not. The second moves on by a tenth of one.
func (s *Series) Peak(from, to time.Time) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	const width = int(time.Second / bucketWidth)
	first, last := s.indices(from, to)
	most, within := 0, 0
	for i := first; i < min(last, len(s.buckets)); i++ {
		within += int(s.buckets[i].heartbeats)
		if i-width >= first {
			within -= int(s.buckets[i-width].heartbeats)
		}
		most = max(most, within)
	}
	return float64(most)
}

func (s *Series) indices(from, to time.Time) (first, last int) {
	return max(0, int(from.Sub(s.began)/bucketWidth)), max(0, int(to.Sub(s.began)/bucketWidth))
}
