package grpctransport

import (
	"cmp"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

const (
	// maxInFlight limits the heartbeats of one stream that are read and have no response yet. It is the number that fills a commit.
	maxInFlight = 256
	// maxKeptIDBytes is the length up to which an id is kept: one byte more than is valid.
	maxKeptIDBytes = 256
	// maxDispatchTime is the time in which a heartbeat reaches the endpoint after its arrival if it did not have to wait for
	// another one.
	maxDispatchTime = 100 * time.Millisecond
)

// heartbeatStream is one open stream. Heartbeats of one controller wait in a queue, which keeps their order. Heartbeats of other
// controllers do not wait for them.
//
// A stream ends in this order:
//  1. ended or notReading gets the reason, or the server begins its shutdown. If isTokenExpired is the reason, heartbeats
//     that are queued get no response.
//  2. run sets isFinished: dispatch refuses further heartbeats. If notReading came first, run skips this
//     step and the next.
//  3. idle is closed when nothing is in flight any more.
//  4. run returns, and close sets isClosed: no worker starts any more. Then the context of the stream ends, and its goroutines with it.
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

// run handles the stream until it ends and returns the reason. Before it returns, it waits for the responses to all heartbeats that
// have arrived, for a limited time. Its return ends ctx and the stream, and with them the remaining goroutines.
func (s *heartbeatStream) run(ctx context.Context) error {
	go s.receive(ctx)
	var err error
	select {
	case err = <-s.ended:
	case <-s.server.cfg.shutdownStarted():
		err = errStopping
	case <-s.notReading:
		return errNotReading
	}

	// The result of a heartbeat is known within the call timeout. One second more is enough to send the last response.
	timeout := time.NewTimer(s.server.cfg.CallTimeout + time.Second)
	defer timeout.Stop()
	select {
	case <-s.stopAccepting():
		select {
		case later := <-s.ended: // The stream failed after the caller had sent everything, before the last response.
			return cmp.Or(err, later)
		default:
			return err
		}
	case <-s.notReading:
		return cmp.Or(err, errNotReading)
	case <-timeout.C:
		return cmp.Or(err, statusError(context.DeadlineExceeded))
	}
}

// receive reads heartbeats until the stream is over. It reads only as many as there are slots; the others stay with the caller. It
// ends no later than the context of run.
func (s *heartbeatStream) receive(ctx context.Context) {
	defer s.endOnPanic()
	in := new(pb.StreamHeartbeatsRequest) // Reused for every message: the parts of a message that are kept are copied.
	for {
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			s.end(statusError(ctx.Err()))
			return
		}

		if err := s.stream.RecvMsg(in); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			s.end(err)
			return
		}
		h := newHeartbeat(in)
		in.Reset() // The next message may arrive much later.
		if !s.dispatch(ctx, h) {
			return
		}
	}
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

// send sends a response. Only one is sent at a time, and send waits for a client that reads slowly.
func (s *heartbeatStream) send(out *pb.StreamHeartbeatsResponse) {
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	s.sendTimer.Reset(s.server.sendTimeout)
	defer s.sendTimer.Stop()
	if err := s.stream.Send(out); err != nil {
		s.end(err)
	}
}

// end sets the reason for the end of the stream; only the first one counts.
func (s *heartbeatStream) end(err error) {
	select {
	case s.ended <- err:
	default:
	}
}

// endOnPanic is deferred: it recovers from a panic and ends the stream with it.
func (s *heartbeatStream) endOnPanic() {
	if cause := recover(); cause != nil {
		s.server.cfg.reportPanic(pb.HeartbeatService_StreamHeartbeats_FullMethodName, cause)
		s.end(statusError(errPanicked))
	}
}
