package grpctransport

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"darktower.example/global-controller/endpoints"
	pb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
)

// tokenCheck is how often the token of a watch is looked at again. Looking costs half a microsecond.
const tokenCheck = 5 * time.Second

// Watch implements [pb.FleetServiceServer]. Whatever is sent is encoded once for all who are sent the same.
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
	unread := make(chan struct{}, 1)
	late := time.AfterFunc(s.sendBound, func() {
		select {
		case unread <- struct{}{}:
		default:
		}
	})
	late.Stop()
	ended := make(chan error, 1)
	go func() {
		// A panic is caught where it happens. What waits to be sent ends with the stream, and this with it.
		defer watch.Close()
		defer func() {
			if cause := recover(); cause != nil {
				s.cfg.panicked(pb.FleetService_Watch_FullMethodName, cause)
				ended <- status.Error(codes.Internal, "Internal error")
			}
		}()
		ended <- s.pass(ctx, watch, stream, late)
	}()
	var draining <-chan struct{}
	if s.cfg.Draining != nil {
		draining = s.cfg.Draining.Done()
	}
	select {
	case err := <-ended:
		return err
	case <-unread:
		return errUnread
	case <-draining:
		return errStopping
	}
}

// requestStream bounds how long a request may take to arrive. A token is looked at only then.
type requestStream struct {
	grpc.ServerStream
	bound    time.Duration   // 0: none
	draining context.Context //nolint:containedctx // It is no call's context but the server's own life.
}

// RecvMsg implements [grpc.ServerStream]. When it gives up the stream ends, and with it what still waits.
func (s *requestStream) RecvMsg(m any) error {
	received := make(chan error, 1)
	go func() { received <- s.ServerStream.RecvMsg(m) }()
	var late <-chan time.Time
	if s.bound > 0 {
		timer := time.NewTimer(s.bound)
		defer timer.Stop()
		late = timer.C
	}
	var draining <-chan struct{}
	if s.draining != nil {
		draining = s.draining.Done()
	}
	select {
	case err := <-received:
		return err
	case <-late:
		return statusError(context.DeadlineExceeded)
	case <-draining:
		return errStopping
	}
}

// pass sends what the watch brings until it ends. late runs while something is sent.
func (s *fleetServer) pass(ctx context.Context, watch service.Watch, stream grpc.ServerStream, late *time.Timer) error {
	// Now, so that a caller learns that it was let in before anything changes.
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	for checked := time.Now(); ; {
		e, err := watch.Next(ctx)
		if err != nil {
			return statusError(err)
		}
		if time.Since(checked) >= tokenCheck {
			checked = time.Now()
			if err := s.lockedOut(ctx); err != nil {
				return statusError(err)
			}
		}
		data, err := e.Encoded("protobuf", encodeWatchEvent)
		if err != nil {
			return statusError(err)
		}
		late.Reset(s.sendBound)
		err = stream.SendMsg(encoded(data))
		late.Stop()
		if err != nil {
			return err
		}
	}
}

// lockedOut tells why the stream's token no longer authenticates, nil when it does or when nobody can tell.
func (s *fleetServer) lockedOut(ctx context.Context) error {
	if s.cfg.Authenticator == nil {
		return nil
	}
	_, err := s.cfg.Authenticator.Authenticate(ctx, endpoints.CallFrom(ctx).Authorization)
	if errors.Is(err, service.ErrUnauthenticated) {
		return err
	}
	return nil
}

func watchQueryFromProto(in *pb.WatchRequest) service.WatchQuery {
	q := service.WatchQuery{Region: in.GetRegion(), Loads: in.GetLoads()}
	if in.After != nil || in.Cursor != nil {
		c := cursorFromProto(in.Cursor, in.GetAfter())
		q.After, q.Fingerprint = &c.ID, c.Fingerprint
	}
	return q
}

// cursorFromProto reads a cursor, or the number that stands for one. One that cannot be read is left to validation, which
// refuses it.
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
		return nil, fmt.Errorf("encode an event: %w", err)
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
			loads.Loads = append(loads.Loads, &pb.Load{
				ControllerId: l.ControllerID, CurrentMeetings: clampUint32(l.CurrentMeetings), CurrentParticipants: clampUint32(l.CurrentParticipants),
				CpuUsagePercent: l.CPUUsagePercent, MemoryUsagePercent: l.MemoryUsagePercent, LastHeartbeatAt: timestamppb.New(l.LastHeartbeatAt), Drained: l.Drained,
			})
		}
		out.Event = &pb.WatchResponse_Loads{Loads: loads}
	default:
		out.Event = &pb.WatchResponse_Beat{Beat: &pb.Beat{}}
	}
	return out
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
