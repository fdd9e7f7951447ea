package grpctransport

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"darktower.example/global-controller/endpoints"
	pb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
)

// defaultSendTimeout is how long a client may leave its responses unread while more of them wait. After that time the client has given up
// on the heartbeats that the responses belong to.
const defaultSendTimeout = 10 * time.Second

var (
	errStopping   = status.Error(codes.Unavailable, "Server is stopping")
	errNotReading = status.Error(codes.ResourceExhausted, "The client does not read the responses")
)

// heartbeatServer serves streams of heartbeats.
type heartbeatServer struct {
	pb.UnimplementedHeartbeatServiceServer
	endpoints endpoints.Endpoints
	cfg       Config
	// sendTimeout is how long a client may leave its responses unread.
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
