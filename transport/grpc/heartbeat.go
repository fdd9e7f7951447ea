package grpctransport

import (
	"cmp"
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"darktower.example/global-controller/endpoints"
	pb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
)

// sendTimeout is how long a client may leave its responses unread while more of them wait. After that time the client has given up
// on the heartbeats that the responses belong to.
const sendTimeout = 10 * time.Second

var (
	errStopping   = status.Error(codes.Unavailable, "The server is stopping")
	errNotReading = status.Error(codes.ResourceExhausted, "The client does not read the responses")
)

// heartbeatServer serves streams of heartbeats.
type heartbeatServer struct {
	pb.UnimplementedHeartbeatServiceServer
	endpoints   endpoints.Endpoints
	cfg         Config
	sendTimeout time.Duration
	// workerIdleTime is how long a stream keeps more workers than it uses.
	workerIdleTime time.Duration
	limits         streamLimits
}

// StreamHeartbeats implements [pb.HeartbeatServiceServer].
func (s *heartbeatServer) StreamHeartbeats(stream grpc.BidiStreamingServer[pb.StreamHeartbeatsRequest, pb.StreamHeartbeatsResponse]) error {
	call := newCall(stream.Context(), "grpc_stream")
	ctx, cancel := context.WithCancel(endpoints.WithCall(stream.Context(), call))
	defer cancel()
	if err := stream.SetHeader(metadata.Pairs("x-request-id", call.RequestID)); err != nil {
		return err
	}

	admitted, err := s.endpoints.StreamHeartbeats.Call(ctx, service.HeartbeatStream{}, nil)
	if err != nil {
		return statusError(err)
	}
	release, err := s.limits.open(admitted.Subject, connectionOf(ctx), s.cfg.StreamsPerSubject)
	if err != nil {
		return err
	}
	defer release()

	// The header is sent now, so that the caller knows that the stream was admitted before it sends anything.
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	opened := newHeartbeatStream(s, stream)
	defer opened.close()
	return opened.run(ctx)
}

// run handles the stream until it ends and returns the reason, after everything that had arrived is answered. It waits for that
// only for a limited time: its return ends ctx and the stream, and with them the remaining goroutines.
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

	// A heartbeat is answered within the call timeout, so one second more is enough to send the last response.
	timeout := time.NewTimer(s.server.cfg.CallTimeout + time.Second)
	defer timeout.Stop()
	select {
	case <-s.stopAccepting():
		select {
		case later := <-s.ended: // The stream ended while the last heartbeats of a caller that has sent everything were answered.
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
		s.end(status.Error(codes.Internal, "Internal error"))
	}
}
