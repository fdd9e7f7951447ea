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

	"darktower.example/global-controller/endpoints"
	pb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
	"darktower.example/global-controller/transport"
)

const (
	// maxUnderWay is how many heartbeats of one stream are read and not answered yet: as many as an agent needs to fill
	// a commit.
	maxUnderWay = 256
	// keptIDBytes is how much is kept of an id: one byte more than is valid.
	keptIDBytes = 256
	// atOnce is how soon after its arrival a heartbeat is under way unless something held it up.
	atOnce = 100 * time.Millisecond
)

// heartbeatSession is one stream. Heartbeats of one controller stand in line, where they keep their order; nobody
// else waits for them.
type heartbeatSession struct {
	server *heartbeatServer
	stream grpc.BidiStreamingServer[pb.StreamHeartbeatsRequest, pb.StreamHeartbeatsResponse]

	// ended is told why the stream is over: nil when the caller has sent everything.
	ended chan error
	// unread is told when an answer could not be sent in time.
	unread chan struct{}

	// slots holds one for each heartbeat that is under way, and one for the reader.
	slots chan struct{}
	// ready passes a heartbeat to a worker that is idle; nil ends the worker. One worker stays as long as the stream, and
	// the others as long as they are needed now and then, so their stacks have already grown when the next heartbeat comes.
	ready chan *heartbeat

	mu       sync.Mutex
	underWay int
	peak     int // The most that were under way since workers were retired.
	workers  int
	retiring bool // The timer runs.
	closed   bool
	finished bool
	idle     chan struct{}         // Closed when the session is finished and nothing is under way.
	last     map[string]*heartbeat // The last one in line for each controller that has one under way.

	sending sync.Mutex
	watch   *time.Timer // Runs while an answer is sent.
	retire  *time.Timer // Runs while there is more than one worker.

	// lockedOut is true once the token no longer authenticates: nothing more may reach the endpoints.
	lockedOut atomic.Bool
}

func newHeartbeatSession(server *heartbeatServer, stream grpc.BidiStreamingServer[pb.StreamHeartbeatsRequest, pb.StreamHeartbeatsResponse]) *heartbeatSession {
	s := &heartbeatSession{
		server: server, stream: stream, ended: make(chan error, 1), unread: make(chan struct{}, 1),
		slots: make(chan struct{}, maxUnderWay), ready: make(chan *heartbeat), idle: make(chan struct{}), last: make(map[string]*heartbeat),
	}
	s.watch = time.AfterFunc(server.sendBound, func() {
		select {
		case s.unread <- struct{}{}:
		default:
		}
	})
	s.watch.Stop()
	s.retire = time.AfterFunc(server.workerIdle, s.retireWorkers)
	s.retire.Stop()
	return s
}

// heartbeat is one message of a stream, in the domain's terms.
type heartbeat struct {
	sequence uint64
	arrived  time.Time
	kind     heartbeatKind
	// report of a fast heartbeat has only what fast ones have.
	report service.ComprehensiveHeartbeat
	// next in line, of the same controller; the session's lock guards it.
	next *heartbeat
}

type heartbeatKind uint8

const (
	noHeartbeat heartbeatKind = iota
	fastHeartbeat
	comprehensiveHeartbeat
)

var heartbeats = sync.Pool{New: func() any { return new(heartbeat) }}

// newHeartbeat keeps of a message only what a heartbeat needs, so that what waits in line holds little memory.
func newHeartbeat(in *pb.StreamHeartbeatsRequest) *heartbeat {
	h := heartbeats.Get().(*heartbeat) //nolint:forcetypeassert // The pool has nothing else.
	h.sequence, h.arrived = in.GetSequence(), time.Now()
	switch m := in.GetHeartbeat().(type) {
	case *pb.StreamHeartbeatsRequest_Fast:
		h.kind, h.report.FastHeartbeat = fastHeartbeat, fastHeartbeatFromProto(m.Fast)
	case *pb.StreamHeartbeatsRequest_Comprehensive:
		h.kind, h.report = comprehensiveHeartbeat, comprehensiveHeartbeatFromProto(m.Comprehensive)
	}
	if len(h.report.ControllerID) >= keptIDBytes {
		h.report.ControllerID = strings.Clone(h.report.ControllerID[:keptIDBytes])
	}
	if len(h.report.Incarnation) >= keptIDBytes {
		h.report.Incarnation = strings.Clone(h.report.Incarnation[:keptIDBytes])
	}
	return h
}

// take has a heartbeat answered by a worker, at once or after those of its controller that came before. It returns
// false when the stream is over.
func (s *heartbeatSession) take(ctx context.Context, h *heartbeat) bool {
	s.mu.Lock()
	if s.finished {
		s.mu.Unlock()
		return false
	}
	s.underWay++
	s.peak = max(s.peak, s.underWay)
	before := s.last[h.report.ControllerID]
	s.last[h.report.ControllerID] = h
	if before != nil {
		before.next = h // The worker that answers the one before goes on with it.
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
		s.done(h)
		s.end(statusError(ctx.Err()))
		return false
	}
}

func (s *heartbeatSession) work(ctx context.Context, h *heartbeat) {
	for {
		for h != nil {
			s.answer(ctx, h)
			h = s.done(h)
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

// done gives up the slot of a heartbeat and returns the next in line.
func (s *heartbeatSession) done(h *heartbeat) *heartbeat {
	s.mu.Lock()
	next := h.next
	if next == nil {
		delete(s.last, h.report.ControllerID)
	}
	s.underWay--
	if s.finished && s.underWay == 0 {
		close(s.idle)
	}
	s.mu.Unlock()
	*h = heartbeat{}
	heartbeats.Put(h)
	<-s.slots
	return next
}

// finish has nothing more taken, and returns what is closed when all that was taken is answered.
func (s *heartbeatSession) finish() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finished = true
	if s.underWay == 0 {
		close(s.idle)
	}
	return s.idle
}

// answer answers one heartbeat. Those of a caller that is gone or locked out get no answer.
func (s *heartbeatSession) answer(ctx context.Context, h *heartbeat) {
	defer s.endOnPanic()
	if ctx.Err() != nil || s.lockedOut.Load() {
		return
	}
	out := &pb.StreamHeartbeatsResponse{Sequence: h.sequence}
	acknowledged, err := s.call(ctx, h)
	if err == nil {
		out.Acknowledged, out.Timestamp, out.OperatorIntent = true, unixSeconds(acknowledged.At), intentToProto(acknowledged.Intent)
		out.FastHeartbeatIntervalMs, out.ComprehensiveHeartbeatIntervalMs = milliseconds(acknowledged.Intervals.Fast), milliseconds(acknowledged.Intervals.Comprehensive)
		out.RetryAfterMs = milliseconds(acknowledged.RetryAfter)
		s.send(out)
		return
	}
	if refusal := s.refusal(ctx, err); refusal != nil {
		s.lockedOut.Store(true)
		s.end(statusError(refusal))
		err = refusal
	}
	seen := transport.StatusOf(err)
	out.Code, out.Message = int32(seen.GRPC), seen.Message //nolint:gosec // There are 17 codes.
	out.RetryAfterMs = milliseconds(seen.RetryAfter)
	s.send(out)
}

// errPanicked is Internal to the caller, as everything is that the status table does not know.
var errPanicked = errors.New("panicked")

// call takes one heartbeat as a call of its own would be taken. Its time runs from its arrival: a controller waits no
// longer for having stood in line, and what it said long ago is not stored as heard now.
func (s *heartbeatSession) call(ctx context.Context, h *heartbeat) (acknowledged service.Acknowledged, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			s.server.cfg.panicked(pb.HeartbeatService_StreamHeartbeats_FullMethodName, cause)
			err = errPanicked
		}
	}()
	var unfit error
	if waited, bound := time.Since(h.arrived), s.server.cfg.CallBound; bound > 0 && waited > atOnce {
		if waited >= bound {
			unfit = fmt.Errorf("wait for an earlier heartbeat: %w", context.DeadlineExceeded)
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, h.arrived.Add(bound))
		defer cancel()
	}
	switch h.kind {
	case fastHeartbeat:
		return s.server.endpoints.FastHeartbeat.Call(ctx, h.report.FastHeartbeat, unfit)
	case comprehensiveHeartbeat:
		return s.server.endpoints.ComprehensiveHeartbeat.Call(ctx, h.report, unfit)
	default:
		return s.server.endpoints.FastHeartbeat.Call(ctx, service.FastHeartbeat{}, service.Invalid("heartbeat is required"))
	}
}

// refusal tells why the stream's token no longer authenticates, nil when it does or when nobody can tell. The limits
// before the authentication may have made another error of it.
func (s *heartbeatSession) refusal(ctx context.Context, err error) error {
	authenticator := s.server.cfg.Authenticator
	switch {
	case errors.Is(err, service.ErrUnauthenticated):
		return err
	case authenticator == nil || !errors.Is(err, service.ErrRateLimited) && !errors.Is(err, service.ErrUnavailable):
		return nil
	}
	if _, err = authenticator.Authenticate(ctx, endpoints.CallFrom(ctx).Authorization); errors.Is(err, service.ErrUnauthenticated) {
		return err
	}
	return nil
}
