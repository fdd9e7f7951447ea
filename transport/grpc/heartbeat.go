package grpctransport

import (
	"context"
	"errors"
	"hash/maphash"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"darktower.example/global-controller/endpoints"
	pb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
	"darktower.example/global-controller/transport"
)

const (
	// lanes is how many heartbeats of one stream may be under way: as many as an agent needs to fill a commit.
	lanes = 256
	// laneDepth is how many more may wait for a lane before the stream is read no further.
	laneDepth = 4
)

// heartbeatServer takes heartbeats over streams.
type heartbeatServer struct {
	pb.UnimplementedHeartbeatServiceServer
	endpoints endpoints.Endpoints
	cfg       Config
}

// StreamHeartbeats implements [pb.HeartbeatServiceServer].
func (s *heartbeatServer) StreamHeartbeats(stream grpc.BidiStreamingServer[pb.StreamHeartbeatsRequest, pb.StreamHeartbeatsResponse]) error {
	call := newCall(stream.Context(), "grpc_stream")
	ctx, cancel := context.WithCancel(endpoints.WithCall(stream.Context(), call))
	defer cancel()
	if err := stream.SetHeader(metadata.Pairs("x-request-id", call.RequestID)); err != nil {
		return err
	}
	if _, err := s.endpoints.StreamHeartbeats.Call(ctx, service.HeartbeatStream{}, nil); err != nil {
		return statusError(err)
	}
	// Now, so that a caller learns that it was let in before it sends anything.
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	session := &heartbeatSession{server: s, stream: stream, ended: make(chan error, 2)}
	go session.receive(ctx)
	var draining <-chan struct{}
	if s.cfg.Draining != nil {
		draining = s.cfg.Draining.Done()
	}
	var err error
	select {
	case err = <-session.ended:
	case <-draining:
		err = status.Error(codes.Unavailable, "The server is stopping")
	}
	session.finish()
	return err
}

// heartbeatSession is one stream. Heartbeats of one controller share a lane, where they keep their order.
type heartbeatSession struct {
	server *heartbeatServer
	stream grpc.BidiStreamingServer[pb.StreamHeartbeatsRequest, pb.StreamHeartbeatsResponse]
	// ended is told why the stream is over: nil when the caller has sent everything.
	ended chan error

	dispatch sync.Mutex // Held while a heartbeat is given to a lane.
	finished bool
	lanes    [lanes]chan *pb.StreamHeartbeatsRequest
	working  sync.WaitGroup

	send sync.Mutex
}

var laneSeed = maphash.MakeSeed()

// receive reads until the stream is over. It ends at the latest when the stream's handler has returned.
func (s *heartbeatSession) receive(ctx context.Context) {
	for {
		in, err := s.stream.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			s.end(err)
			return
		}
		if !s.give(ctx, in) {
			return
		}
	}
}

// end says why the stream is over; only the first reason counts.
func (s *heartbeatSession) end(err error) {
	select {
	case s.ended <- err:
	default:
	}
}

// give hands a heartbeat to its lane, and waits while that is full. It returns false when the stream is over.
func (s *heartbeatSession) give(ctx context.Context, in *pb.StreamHeartbeatsRequest) bool {
	id := in.GetFast().GetControllerId()
	if in.GetComprehensive() != nil {
		id = in.GetComprehensive().GetControllerId()
	}
	s.dispatch.Lock()
	defer s.dispatch.Unlock()
	if s.finished {
		return false
	}
	lane := &s.lanes[maphash.String(laneSeed, id)%lanes]
	if *lane == nil {
		*lane = make(chan *pb.StreamHeartbeatsRequest, laneDepth)
		s.working.Add(1)
		go s.work(ctx, *lane)
	}
	*lane <- in
	return true
}

// finish waits until what was received is answered.
func (s *heartbeatSession) finish() {
	s.dispatch.Lock()
	s.finished = true
	for _, lane := range s.lanes {
		if lane != nil {
			close(lane)
		}
	}
	s.dispatch.Unlock()
	s.working.Wait()
}

func (s *heartbeatSession) work(ctx context.Context, lane <-chan *pb.StreamHeartbeatsRequest) {
	defer s.working.Done()
	for in := range lane {
		out, err := s.heartbeat(ctx, in)
		s.send.Lock()
		sendErr := s.stream.Send(out)
		s.send.Unlock()
		switch {
		case sendErr != nil:
			s.end(sendErr)
		case errors.Is(err, service.ErrUnauthenticated):
			// The token has run out: nothing that follows could be let in.
			s.end(statusError(err))
		}
	}
}

// heartbeat takes one heartbeat as a call of its own would be taken.
func (s *heartbeatSession) heartbeat(ctx context.Context, in *pb.StreamHeartbeatsRequest) (out *pb.StreamHeartbeatsResponse, err error) {
	out = &pb.StreamHeartbeatsResponse{Sequence: in.GetSequence()}
	defer func() {
		if cause := recover(); cause != nil {
			s.server.cfg.panicked(pb.HeartbeatService_StreamHeartbeats_FullMethodName, cause)
			out.Code, out.Message = int32(codes.Internal), "Internal error"
		}
	}()
	var acknowledged service.Acknowledged
	switch h := in.GetHeartbeat().(type) {
	case *pb.StreamHeartbeatsRequest_Fast:
		acknowledged, err = s.server.endpoints.FastHeartbeat.Call(ctx, fastHeartbeatFromProto(h.Fast), nil)
	case *pb.StreamHeartbeatsRequest_Comprehensive:
		acknowledged, err = s.server.endpoints.ComprehensiveHeartbeat.Call(ctx, comprehensiveHeartbeatFromProto(h.Comprehensive), nil)
	default:
		_, err = s.server.endpoints.FastHeartbeat.Call(ctx, service.FastHeartbeat{}, service.Invalid("heartbeat is required"))
	}
	if err != nil {
		seen := transport.StatusOf(err)
		out.Code, out.Message = int32(seen.GRPC), seen.Message //nolint:gosec // There are 17 codes.
		return out, err
	}
	out.Acknowledged, out.Timestamp = true, unixSeconds(acknowledged.At)
	return out, nil
}
