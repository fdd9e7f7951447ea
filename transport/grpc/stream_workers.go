package grpctransport

import (
	"context"
	"errors"
	"fmt"
	"time"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
	"darktower.example/global-controller/transport"
)

// startWorker starts a worker that handles h. It returns false if the stream has reached its limit of workers.
func (s *heartbeatStream) startWorker(ctx context.Context, h *heartbeat) bool {
	s.mu.Lock()
	defer s.mu.Unlock()

	if s.isClosed || s.workers >= maxInFlight || (s.workers > 0 && !s.server.limits.takeWorker()) {
		return false
	}
	s.workers++
	if s.workers > 1 && !s.isRetireTimerRunning {
		s.isRetireTimerRunning = true
		s.retireTimer.Reset(s.server.workerIdleTime)
	}
	go s.runWorker(ctx, h)
	return true
}

// runWorker handles h and then heartbeats from ready, until it gets nil or the stream ends.
func (s *heartbeatStream) runWorker(ctx context.Context, h *heartbeat) {
	for {
		for h != nil {
			s.respond(ctx, h)
			h = s.release(h)
		}
		select {
		case h = <-s.ready:
			if h == nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// retireWorkers ends the workers that were not needed since its last run. It runs as long as there is more than one worker, so that
// an idle stream has no timer.
func (s *heartbeatStream) retireWorkers() {
	s.mu.Lock()
	defer s.mu.Unlock()

	if s.isClosed {
		return
	}
	for range s.workers - max(s.peak, 1) {
		select {
		case s.ready <- nil:
			s.workers--
			s.server.limits.spareWorkers.Add(-1)
		default: // The other workers are busy.
		}
	}

	s.peak = s.inFlight
	s.isRetireTimerRunning = s.workers > 1
	if s.isRetireTimerRunning {
		s.retireTimer.Reset(s.server.workerIdleTime)
	}
}

// close releases the workers, which end with the stream.
func (s *heartbeatStream) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isClosed = true
	s.retireTimer.Stop()
	s.server.limits.spareWorkers.Add(-int64(max(0, s.workers-1)))
}

// respond handles one heartbeat and sends its response. A caller that has gone, or whose token has expired, gets no response.
func (s *heartbeatStream) respond(ctx context.Context, h *heartbeat) {
	defer s.endOnPanic()
	if ctx.Err() != nil || s.isTokenExpired.Load() {
		return
	}

	out := &pb.StreamHeartbeatsResponse{Sequence: h.sequence}
	acknowledged, err := s.call(ctx, h)
	if err == nil {
		out.Acknowledged = true
		out.Timestamp = unixSeconds(acknowledged.At)
		out.OperatorIntent = intentToProto(acknowledged.Intent)
		out.FastHeartbeatIntervalMs = milliseconds(acknowledged.Intervals.Fast)
		out.ComprehensiveHeartbeatIntervalMs = milliseconds(acknowledged.Intervals.Comprehensive)
		out.RetryAfterMs = milliseconds(acknowledged.RetryAfter)
		s.send(out)
		return
	}

	if tokenErr := s.tokenError(ctx, err); tokenErr != nil {
		s.isTokenExpired.Store(true)
		s.end(statusError(tokenErr))
		err = tokenErr
	}
	status := transport.StatusOf(err)
	out.Code = int32(status.GRPC) //nolint:gosec // There are 17 codes.
	out.Message = status.Message
	out.RetryAfterMs = milliseconds(status.RetryAfter)
	s.send(out)
}

// errPanicked becomes Internal, like every error that is not in the status table.
var errPanicked = errors.New("panicked")

// call handles one heartbeat like a unary call. Its timeout begins with its arrival. So the time in the queue does not make a
// controller wait longer, and an old report is not stored as a new one.
func (s *heartbeatStream) call(ctx context.Context, h *heartbeat) (acknowledged service.Acknowledgement, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			s.server.cfg.reportPanic(pb.HeartbeatService_StreamHeartbeats_FullMethodName, cause)
			err = errPanicked
		}
	}()

	var decodeErr error
	if waited, timeout := time.Since(h.arrived), s.server.cfg.CallTimeout; timeout > 0 && waited > maxDispatchTime {
		if waited >= timeout {
			decodeErr = fmt.Errorf("wait for an earlier heartbeat: %w", context.DeadlineExceeded)
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, h.arrived.Add(timeout))
		defer cancel()
	}

	switch h.kind {
	case fastHeartbeat:
		return s.server.endpoints.FastHeartbeat.Call(ctx, h.report.FastHeartbeat, decodeErr)
	case comprehensiveHeartbeat:
		return s.server.endpoints.ComprehensiveHeartbeat.Call(ctx, h.report, decodeErr)
	default:
		return s.server.endpoints.FastHeartbeat.Call(ctx, service.FastHeartbeat{}, service.Invalid("heartbeat is required"))
	}
}

// tokenError returns the reason why the stream's token no longer authenticates, nil if it does or if that cannot be decided. It
// verifies the token again if err may come from a limit that applies before the authentication.
func (s *heartbeatStream) tokenError(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, service.ErrUnauthenticated):
		return err
	case errors.Is(err, service.ErrRateLimited), errors.Is(err, service.ErrUnavailable):
		return s.server.cfg.checkToken(ctx)
	default:
		return nil
	}
}
