package daemon

import (
	"sync/atomic"
	"time"

	"github.com/go-kit/log/level"
	"golang.org/x/time/rate"
)

// sharedIDLogInterval is the shortest time between two log lines about shared ids.
const sharedIDLogInterval = time.Minute

// newSharedIDReporter returns a function that counts, stores and logs that two processes use a controller's id and name no
// incarnation.
func (s *Server) newSharedIDReporter() func(controllerID string) {
	counter := s.metrics.RegisterSharedIDs()
	limiter := rate.Sometimes{First: 1, Interval: sharedIDLogInterval}
	var unlogged atomic.Int64

	return func(controllerID string) {
		counter.IncHeartbeat()
		s.store.RecordConflict(controllerID)
		unlogged.Add(1)
		limiter.Do(func() {
			_ = level.Warn(s.logger).Log(
				"msg", "two processes use one controller id and name no incarnation: stop one of them, then restart the other",
				"controller_id", controllerID,
				"heartbeats", unlogged.Swap(0),
			)
		})
	}
}
