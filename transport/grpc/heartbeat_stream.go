package grpctransport

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
	"darktower.example/global-controller/transport"
)

const (
	// maxInFlight limits the heartbeats of one stream that are read and not answered yet. It is the number that fills a commit.
	maxInFlight = 256
	// maxKeptIDBytes is the length up to which an id is kept: one byte more than is valid.
	maxKeptIDBytes = 256
	// maxDispatchTime is the time in which a heartbeat reaches the endpoint after its arrival if it did not have to wait for
	// another one.
	maxDispatchTime = 100 * time.Millisecond
)

// heartbeatStream is one open stream. Heartbeats of one controller wait in a queue, which keeps their order. Heartbeats of other
// controllers do not wait for them.
type heartbeatStream struct {
	server *heartbeatServer
	stream grpc.BidiStreamingServer[pb.StreamHeartbeatsRequest, pb.StreamHeartbeatsResponse]

	// ended gets the reason for the end of the stream: nil if the caller has sent everything.
	ended chan error
	// notReading gets a value if a response could not be sent in time.
	notReading chan struct{}

	// slots has one entry for each heartbeat in flight, and one for the reader.
	slots chan struct{}
	// ready passes a heartbeat to an idle worker; nil ends the worker. One worker stays as long as the stream. The others stay as long
	// as they are needed occasionally, so that their stacks have already grown when the next heartbeat arrives.
	ready chan *heartbeat

	mu                   sync.Mutex
	inFlight             int
	peak                 int // The maximum of inFlight since workers were last retired.
	workers              int
	isRetireTimerRunning bool
	isClosed             bool
	isFinished           bool
	idle                 chan struct{}         // Closed when the stream is finished and nothing is in flight.
	lastByController     map[string]*heartbeat // The last heartbeat in the queue of each controller that has one in flight.

	sendMu      sync.Mutex
	sendTimer   *time.Timer // Runs while a response is sent.
	retireTimer *time.Timer // Runs while there is more than one worker.

	// isTokenExpired is true once the token no longer authenticates: from then on nothing may reach the endpoints.
	isTokenExpired atomic.Bool
}

func newHeartbeatStream(
	server *heartbeatServer, stream grpc.BidiStreamingServer[pb.StreamHeartbeatsRequest, pb.StreamHeartbeatsResponse],
) *heartbeatStream {
	s := &heartbeatStream{
		server:           server,
		stream:           stream,
		ended:            make(chan error, 1),
		notReading:       make(chan struct{}, 1),
		slots:            make(chan struct{}, maxInFlight),
		ready:            make(chan *heartbeat),
		idle:             make(chan struct{}),
		lastByController: make(map[string]*heartbeat),
	}

	s.sendTimer = time.AfterFunc(server.sendTimeout, func() {
		select {
		case s.notReading <- struct{}{}:
		default:
		}
	})
	s.sendTimer.Stop()
	s.retireTimer = time.AfterFunc(server.workerIdleTime, s.retireWorkers)
	s.retireTimer.Stop()
	return s
}

// heartbeat is one message of a stream, converted to the domain.
type heartbeat struct {
	sequence uint64
	arrived  time.Time
	kind     heartbeatKind
	// report of a fast heartbeat has only the fields of a fast one.
	report service.ComprehensiveHeartbeat
	// next is the next heartbeat of the same controller; the stream's lock guards it.
	next *heartbeat
}

type heartbeatKind uint8

const (
	noHeartbeat heartbeatKind = iota
	fastHeartbeat
	comprehensiveHeartbeat
)

var heartbeats = sync.Pool{New: func() any { return new(heartbeat) }}

// newHeartbeat keeps of a message only the parts that a heartbeat needs, so that waiting heartbeats use little memory.
func newHeartbeat(in *pb.StreamHeartbeatsRequest) *heartbeat {
	h := heartbeats.Get().(*heartbeat) //nolint:forcetypeassert // The pool has nothing else.
	h.sequence, h.arrived = in.GetSequence(), time.Now()

	switch m := in.GetHeartbeat().(type) {
	case *pb.StreamHeartbeatsRequest_Fast:
		h.kind, h.report.FastHeartbeat = fastHeartbeat, fastHeartbeatFromProto(m.Fast)
	case *pb.StreamHeartbeatsRequest_Comprehensive:
		h.kind, h.report = comprehensiveHeartbeat, comprehensiveHeartbeatFromProto(m.Comprehensive)
	}

	if len(h.report.ControllerID) >= maxKeptIDBytes {
		h.report.ControllerID = strings.Clone(h.report.ControllerID[:maxKeptIDBytes])
	}
	if len(h.report.Incarnation) >= maxKeptIDBytes {
		h.report.Incarnation = strings.Clone(h.report.Incarnation[:maxKeptIDBytes])
	}
	return h
}

// dispatch passes a heartbeat to a worker, or queues it after the earlier ones of its controller. It returns false if the stream is
// over.
func (s *heartbeatStream) dispatch(ctx context.Context, h *heartbeat) bool {
	s.mu.Lock()
	if s.isFinished {
		s.mu.Unlock()
		return false
	}
	s.inFlight++
	s.peak = max(s.peak, s.inFlight)
	before := s.lastByController[h.report.ControllerID]
	s.lastByController[h.report.ControllerID] = h
	if before != nil {
		before.next = h // The worker that handles the previous one continues with it.
		s.mu.Unlock()
		return true
	}
	s.mu.Unlock()

	select {
	case s.ready <- h:
		return true
	default:
	}
	if s.startWorker(ctx, h) {
		return true
	}

	select {
	case s.ready <- h:
		return true
	case <-ctx.Done():
		s.release(h)
		s.end(statusError(ctx.Err()))
		return false
	}
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

// release frees the slot of a heartbeat and returns the next one in its queue.
func (s *heartbeatStream) release(h *heartbeat) *heartbeat {
	s.mu.Lock()
	next := h.next
	if next == nil {
		delete(s.lastByController, h.report.ControllerID)
	}
	s.inFlight--
	if s.isFinished && s.inFlight == 0 {
		close(s.idle)
	}
	s.mu.Unlock()

	*h = heartbeat{}
	heartbeats.Put(h)
	<-s.slots
	return next
}

// stopAccepting makes dispatch refuse further heartbeats. It returns a channel that is closed when nothing is in flight any more.
func (s *heartbeatStream) stopAccepting() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isFinished = true
	if s.inFlight == 0 {
		close(s.idle)
	}
	return s.idle
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
