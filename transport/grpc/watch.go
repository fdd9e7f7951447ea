package grpctransport

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"darktower.example/global-controller/endpoints"
	pb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
)

// tokenCheckInterval is the time between checks of the token of a watch. A check costs half a microsecond.
const tokenCheckInterval = 5 * time.Second

// Watch implements [pb.FleetServiceServer]. Each event is encoded once for all watches that send it.
func (s *fleetServer) Watch(in *pb.WatchRequest, stream grpc.ServerStreamingServer[pb.WatchResponse]) error {
	call := newCall(stream.Context(), "grpc")
	if isMalformed(in) {
		call.DecodeErr = service.Invalid("request is not valid protobuf")
	}
	ctx := endpoints.WithCall(stream.Context(), call)
	if err := stream.SetHeader(metadata.Pairs("x-request-id", call.RequestID)); err != nil {
		return err
	}
	watch, err := s.endpoints.Watch.Call(ctx, watchQueryFromProto(in), call.DecodeErr)
	if err != nil {
		return statusError(err)
	}

	notReading := make(chan struct{}, 1)
	sendTimer := time.AfterFunc(s.sendTimeout, func() {
		select {
		case notReading <- struct{}{}:
		default:
		}
	})
	sendTimer.Stop()

	ended := make(chan error, 1)
	go func() {
		// A panic is caught in its own goroutine. If Watch returns first, the stream ends, and with it a pending send and this
		// goroutine.
		defer watch.Close()
		defer func() {
			if cause := recover(); cause != nil {
				s.cfg.reportPanic(pb.FleetService_Watch_FullMethodName, cause)
				ended <- statusError(errPanicked)
			}
		}()
		ended <- s.sendEvents(ctx, watch, stream, sendTimer)
	}()

	select {
	case err := <-ended:
		return err
	case <-notReading:
		return errNotReading
	case <-s.cfg.shutdownStarted():
		return errStopping
	}
}

// requestStream limits the time in which the request of a watch must arrive. The token is verified only after that.
type requestStream struct {
	grpc.ServerStream
	cfg Config
}

// RecvMsg implements [grpc.ServerStream]. If it returns early, the stream ends, and with it the pending read.
func (s *requestStream) RecvMsg(m any) error {
	received := make(chan error, 1)
	go func() { received <- s.ServerStream.RecvMsg(m) }()

	var timeout <-chan time.Time
	if s.cfg.CallTimeout > 0 {
		timer := time.NewTimer(s.cfg.CallTimeout)
		defer timer.Stop()
		timeout = timer.C
	}

	select {
	case err := <-received:
		return err
	case <-timeout:
		return statusError(context.DeadlineExceeded)
	case <-s.cfg.shutdownStarted():
		return errStopping
	}
}

// sendEvents sends the events of a watch until the watch ends. sendTimer runs while an event is sent.
func (s *fleetServer) sendEvents(ctx context.Context, watch service.Watch, stream grpc.ServerStream, sendTimer *time.Timer) error {
	// The header is sent now, so that the caller knows that the watch was admitted before anything changes.
	if err := stream.SendHeader(nil); err != nil {
		return err
	}

	for checkedAt := time.Now(); ; {
		e, err := watch.Next(ctx)
		if err != nil {
			return statusError(err)
		}
		if time.Since(checkedAt) >= tokenCheckInterval {
			checkedAt = time.Now()
			if err := s.cfg.checkToken(ctx); err != nil {
				return statusError(err)
			}
		}

		data, err := e.EncodeAs("protobuf", encodeWatchEvent)
		if err != nil {
			return statusError(err)
		}
		sendTimer.Reset(s.sendTimeout)
		err = stream.SendMsg(encodedMessage(data))
		sendTimer.Stop()
		if err != nil {
			return err
		}
	}
}

func watchQueryFromProto(in *pb.WatchRequest) service.WatchQuery {
	q := service.WatchQuery{Region: in.GetRegion(), Loads: in.GetLoads()}
	if in.After != nil || in.Cursor != nil {
		c := cursorFromProto(in.Cursor, in.GetAfter())
		q.After, q.Fingerprint = &c.ID, c.Fingerprint
	}
	return q
}

// cursorFromProto parses a cursor, or converts the number if there is none. An invalid cursor becomes one that validation refuses.
func cursorFromProto(text *string, number uint64) service.Cursor {
	if text == nil {
		return service.Cursor{ID: clampInt64(number)}
	}
	c, err := service.ParseCursor(*text)
	if err != nil {
		return service.Cursor{ID: -1}
	}
	return c
}

func encodeWatchEvent(e service.WatchEvent) ([]byte, error) {
	data, err := proto.Marshal(watchEventToProto(e))
	if err != nil {
		return nil, fmt.Errorf("encode watch event: %w", err)
	}
	return data, nil
}

func watchEventToProto(e service.WatchEvent) *pb.WatchResponse {
	out := &pb.WatchResponse{Id: clampUint64(e.ID), AsOf: timestampOrNil(e.AsOf)}
	if e.ID != 0 {
		out.Cursor = e.Cursor().String()
	}

	switch {
	case e.Snapshot != nil:
		part := &pb.Snapshot{Begin: e.Snapshot.Begin, End: e.Snapshot.End, Reason: e.Snapshot.Reason}
		for _, c := range e.Snapshot.Controllers {
			part.Controllers = append(part.Controllers, controllerToProto(*c))
		}
		out.Event = &pb.WatchResponse_Snapshot{Snapshot: part}
	case e.Changes != nil:
		changes := &pb.Changes{}
		for _, c := range e.Changes {
			changes.Changes = append(changes.Changes, changeToProto(c))
		}
		out.Event = &pb.WatchResponse_Changes{Changes: changes}
	case e.Loads != nil:
		loads := &pb.Loads{}
		for _, l := range e.Loads {
			loads.Loads = append(loads.Loads, loadToProto(l))
		}
		out.Event = &pb.WatchResponse_Loads{Loads: loads}
	default:
		out.Event = &pb.WatchResponse_Beat{Beat: &pb.Beat{}}
	}
	return out
}

func loadToProto(l service.WatchLoad) *pb.Load {
	return &pb.Load{
		ControllerId:        l.ControllerID,
		CurrentMeetings:     clampUint32(l.CurrentMeetings),
		CurrentParticipants: clampUint32(l.CurrentParticipants),
		CpuUsagePercent:     l.CPUUsagePercent,
		MemoryUsagePercent:  l.MemoryUsagePercent,
		LastHeartbeatAt:     timestamppb.New(l.LastHeartbeatAt),
		Drained:             l.Drained,
	}
}

func changeToProto(c service.WatchChange) *pb.Change {
	out := &pb.Change{ControllerId: c.ControllerID}
	if c.Controller != nil {
		out.Controller = controllerToProto(*c.Controller)
	}
	if c.Transition != nil {
		out.Transition = transitionToProto(*c.Transition)
	}
	return out
}
