package metrics

import (
	"slices"
	"time"
)

// detectionBuckets are finest around the time by which a controller that has fallen silent has to be found: whether the
// promise was kept must be read from them, whatever the threshold is.
func detectionBuckets(threshold, interval time.Duration) []float64 {
	var buckets []float64
	for _, part := range []float64{1. / 6, 1. / 3, 2. / 3, 5. / 6, 1, 2, 4, 10} {
		buckets = append(buckets, rounded(part*threshold.Seconds()))
	}
	for _, part := range []float64{.2, .4, .6, .8, 1, 1.2, 2} {
		buckets = append(buckets, rounded(threshold.Seconds()+part*interval.Seconds()))
	}
	slices.Sort(buckets)
	return slices.Compact(buckets)
}

// rounded keeps the bounds readable, to the millisecond.
func rounded(seconds float64) float64 {
	return time.Duration(seconds * float64(time.Second)).Round(time.Millisecond).Seconds()
}
