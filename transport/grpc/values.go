package grpctransport

import (
	"math"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
)

// healthOrNoneToProto converts a state; a controller that is not registered has none.
func healthOrNoneToProto(h service.HealthStatus) pb.Health {
	if h == "" {
		return pb.Health_HEALTH_UNSPECIFIED
	}
	return healthToProto(h)
}

// timeFromProto returns the zero time for nil, and for an invalid timestamp a time that validation refuses.
func timeFromProto(t *timestamppb.Timestamp) time.Time {
	switch {
	case t == nil:
		return time.Time{}
	case !t.IsValid():
		return time.Unix(-1, 0)
	default:
		return t.AsTime()
	}
}

func timestampOrNil(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func generationFromProto(g *uint64) *int64 {
	if g == nil {
		return nil
	}
	clamped := clampInt64(*g)
	return &clamped
}

func clampInt64(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

func clampUint64(n int64) uint64 { return uint64(max(0, n)) }

// clampUint32 converts a count. Counts of the store are never negative and always fit.
func clampUint32(n int64) uint32 {
	return uint32(max(0, min(n, math.MaxUint32)))
}

func milliseconds(d time.Duration) uint64 { return uint64(max(0, d.Milliseconds())) }

func unixSeconds(t time.Time) uint64 {
	return uint64(max(0, t.Unix()))
}
