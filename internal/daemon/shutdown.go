package daemon

import (
	"context"
	"time"

	"github.com/go-kit/log/level"
)

const (
	// maxGracefulStop is longer than any call may take. A call that is left after it has a peer that does not read its response.
	maxGracefulStop = 15 * time.Second
	// httpShutdownReserve is the part of the shutdown timeout that is left for calls over HTTP if those over gRPC use all of it.
	httpShutdownReserve = 2 * time.Second
)

// stopGRPC completes the calls over gRPC, and cancels those that are left at the deadline. HTTP continues to serve
// /ready meanwhile. Shortly before the deadline HTTP must stop as well, or its own calls would have no time to complete.
func (s *Server) stopGRPC(deadline time.Time) {
	if latest := time.Now().Add(maxGracefulStop); latest.Before(deadline) {
		deadline = latest
	}
	stopped := make(chan struct{})
	go func() {
		s.grpcServer.GracefulStop()
		close(stopped)
	}()

	select {
	case <-stopped:
		return
	case <-time.After(time.Until(deadline) - min(httpShutdownReserve, s.cfg.ShutdownTimeout/4)):
		go s.stopHTTP(deadline)
	}

	select {
	case <-stopped:
	case <-time.After(time.Until(deadline)):
		_ = level.Warn(s.logger).Log("msg", "shutdown timeout reached, in-flight calls cancelled")
		s.grpcServer.Stop()
		<-stopped
	}
}

// stopHTTP completes the calls over HTTP, and cancels those that are left at the deadline.
func (s *Server) stopHTTP(deadline time.Time) {
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	if err := s.httpServer.Shutdown(ctx); err != nil {
		_ = s.httpServer.Close()
	}
}
