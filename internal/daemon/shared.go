package daemon

import (
	"sync/atomic"
	"time"

	"github.com/go-kit/log/level"
	"golang.org/x/time/rate"
)

// sharedLogInterval is the shortest time between two log lines about shared ids.
const sharedLogInterval = time.Minute

// reportShared counts, shows and logs that two processes use a controller's id and name no incarnation.
func (s *Server) reportShared() func(controllerID string) {
	counted := s.metrics.RegisterSharedIDs()
	lines := rate.Sometimes{First: 1, Interval: sharedLogInterval}
	var found atomic.Int64
	return func(controllerID string) {
		counted.IncHeartbeat()
		s.store.RecordConflict(controllerID)
		found.Add(1)
		lines.Do(func() {
			_ = level.Warn(s.logger).Log(
				"msg", "two processes use one controller id and name no incarnation: stop one of them, then restart the other",
				"controller_id", controllerID,
				"heartbeats", found.Swap(0),
			)
		})
	}
}
