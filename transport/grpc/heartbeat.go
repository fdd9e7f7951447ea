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

// sendBound is how long a caller may leave its answers unread while more of them wait. Whoever reads nothing for so
// long has given up on the heartbeat that the answer is for.
const sendBound = 10 * time.Second

var (
	errStopping = status.Error(codes.Unavailable, "The server is stopping")
	errUnread   = status.Error(codes.ResourceExhausted, "The answers are not read")
)

// heartbeatServer takes heartbeats over streams.
type heartbeatServer struct {
	pb.UnimplementedHeartbeatServiceServer
	endpoints endpoints.Endpoints
	cfg       Config
	sendBound time.Duration
	// workerIdle is how long a stream keeps more workers than it uses.
	workerIdle time.Duration
	limits     streamLimits
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
	// Now, so that a caller learns that it was let in before it sends anything.
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	session := newHeartbeatSession(s, stream)
	defer session.close()
	return session.run(ctx)
}

// run returns why the stream is over, after what had arrived is answered. It waits for that only so long: its return
// ends ctx and the stream, and with them whatever its goroutines still do.
func (s *heartbeatSession) run(ctx context.Context) error {
	go s.receive(ctx)
	var draining <-chan struct{}
	if s.server.cfg.Draining != nil {
		draining = s.server.cfg.Draining.Done()
	}
	var err error
	select {
	case err = <-s.ended:
	case <-draining:
		err = errStopping
	case <-s.unread:
		return errUnread
	}
	// A heartbeat is answered within its bound, so a second more is enough for the last answer to be sent.
	late := time.NewTimer(s.server.cfg.CallBound + time.Second)
	defer late.Stop()
	select {
	case <-s.finish():
		select {
		case later := <-s.ended: // While the last heartbeats of a caller that has sent everything were answered.
			return cmp.Or(err, later)
		default:
			return err
		}
	case <-s.unread:
		return cmp.Or(err, errUnread)
	case <-late.C:
		return cmp.Or(err, statusError(context.DeadlineExceeded))
	}
}

// receive reads until the stream is over, and no further than there are slots: the rest waits with the caller. It
// ends at the latest when run has returned.
func (s *heartbeatSession) receive(ctx context.Context) {
	defer s.endOnPanic()
	in := new(pb.StreamHeartbeatsRequest) // For every message: what is kept of one is copied.
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
		in.Reset() // A caller may be silent for long.
		if !s.take(ctx, h) {
			return
		}
	}
}

// send passes an answer on. Only one may be under way, and it waits for a caller that reads slowly.
func (s *heartbeatSession) send(out *pb.StreamHeartbeatsResponse) {
	s.sending.Lock()
	defer s.sending.Unlock()
	s.watch.Reset(s.server.sendBound)
	defer s.watch.Stop()
	if err := s.stream.Send(out); err != nil {
		s.end(err)
	}
}

// end says why the stream is over; only the first reason counts.
func (s *heartbeatSession) end(err error) {
	select {
	case s.ended <- err:
	default:
	}
}

func (s *heartbeatSession) endOnPanic() {
	if cause := recover(); cause != nil {
		s.server.cfg.panicked(pb.HeartbeatService_StreamHeartbeats_FullMethodName, cause)
		s.end(status.Error(codes.Internal, "Internal error"))
	}
}
