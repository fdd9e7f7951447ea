package client

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	globalcontrollerv1 "darktower.example/global-controller/proto/globalcontroller/v1"
)

// streamRetryDelay is how long heartbeats are unary calls after a Global Controller refused a stream because it had too many.
const streamRetryDelay = time.Minute

type (
	streamRequest  = globalcontrollerv1.StreamHeartbeatsRequest
	streamResponse = globalcontrollerv1.StreamHeartbeatsResponse
)

// heartbeatStream carries the heartbeats of one controller, one at a time. It is opened and closed by a heartbeat. If it ends
// between two heartbeats, the next heartbeat opens another one.
type heartbeatStream struct {
	link        *link
	token       sealedSecret
	raw         grpc.BidiStreamingClient[streamRequest, streamResponse]
	cancel      context.CancelFunc
	isPeerEnded *atomic.Bool // Whether the Global Controller ended it.

	lastSequence uint64
	pending      atomic.Pointer[pendingHeartbeat] // nil: none.
	done         chan struct{}                    // Closed when the reader has ended, after err is set.
	err          error
}

// pendingHeartbeat is a heartbeat without a response. Each has its own channel, so that a late or repeated response is never
// taken for the response to the next heartbeat.
type pendingHeartbeat struct {
	sequence uint64
	response chan *streamResponse // Has room for one.
}

// heartbeatOverStream sends a heartbeat over the open stream, or over a new one if none is usable. hasStream is false if no
// stream is available. The heartbeat must then be a unary call.
func (t *grpcTransport) heartbeatOverStream(
	ctx context.Context, l *link, token string, r heartbeatReport,
) (response callResponse, end outcome, hasStream bool) {
	if s := t.stream; s != nil && (s.token.open() != token || s.link != l) {
		t.closeStream()
	}
	isReused := t.stream != nil
	if l.isStreamUnsupported.Load() || (!isReused && !t.canOpenStream(l)) {
		return callResponse{}, outcome{}, false
	}

	ctx, cancel := context.WithTimeout(ctx, t.cfg.CallTimeout)
	defer cancel()
	began := time.Now()
	response, end = t.exchangeHeartbeat(ctx, l, token, r)

	method := r.method()
	hasStream = true
	// An error for the stream itself is not a response to the heartbeat.
	switch {
	case end.err != nil && end.err.code == codes.Unimplemented:
		l.isStreamUnsupported.Store(true)
		method, hasStream = methodStream, false
	case end.err != nil && end.err.code == codes.ResourceExhausted && end.isStreamEnded && !isReused:
		l.streamRetryAt.Store(began.Add(streamRetryDelay).UnixNano())
		method, hasStream = methodStream, false
	}

	end.hasOldStream = isReused && end.hasOldStream
	t.reportCall(method, began, end.err, true)
	return response, end, hasStream
}

// canOpenStream reports whether the link may have another stream, and reserves it.
func (t *grpcTransport) canOpenStream(l *link) bool {
	return time.Now().UnixNano() >= l.streamRetryAt.Load() && t.connection.acquireStream(l)
}

// exchangeHeartbeat sends a heartbeat over the stream, which it opens if there is none, and waits for the response.
func (t *grpcTransport) exchangeHeartbeat(ctx context.Context, l *link, token string, r heartbeatReport) (callResponse, outcome) {
	s := t.stream
	if s == nil {
		var err error
		if s, err = t.openStream(ctx, l, token); err != nil {
			t.connection.releaseStream(l)
			return callResponse{}, outcome{err: newFailure(ctx, err), token: token}
		}
	}

	response, err := s.send(ctx, t.newStreamRequest(r))
	if err != nil {
		t.closeStream() // Waits for the reader, after which isPeerEnded is final.
		end := outcome{err: newFailure(ctx, err), token: token, isPeerEnded: s.isPeerEnded.Load(), isStreamEnded: true}
		end.hasOldStream = ctx.Err() == nil && end.err.code == codes.Unavailable
		return callResponse{}, end
	}

	end := outcome{token: token, isPeerEnded: true}
	switch code := codes.Code(max(0, response.GetCode())); {
	case code != codes.OK:
		end.err = &failure{
			code:       code,
			message:    response.GetMessage(),
			retryAfter: durationFromMilliseconds(response.GetRetryAfterMs()),
		}
	case !response.GetAcknowledged():
		end.err = &failure{code: codes.Unknown, err: errNotAcknowledged}
	}
	return callResponseFromProto(response), end
}

func (t *grpcTransport) newStreamRequest(r heartbeatReport) *streamRequest {
	if r.isComprehensive {
		heartbeat := &globalcontrollerv1.StreamHeartbeatsRequest_Comprehensive{Comprehensive: t.comprehensiveRequest(r)}
		return &streamRequest{Heartbeat: heartbeat}
	}
	return &streamRequest{Heartbeat: &globalcontrollerv1.StreamHeartbeatsRequest_Fast{Fast: t.fastRequest(r)}}
}

// openStream opens a stream that outlives ctx: ctx limits only the opening.
func (t *grpcTransport) openStream(ctx context.Context, l *link, token string) (*heartbeatStream, error) {
	streamCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	streamCtx, isPeerEnded := withPeerEndedFlag(streamCtx)
	stop := context.AfterFunc(ctx, cancel)
	defer stop()

	raw, err := globalcontrollerv1.NewHeartbeatServiceClient(l.conn).StreamHeartbeats(withToken(streamCtx, token))
	if err != nil {
		cancel()
		return nil, err
	}

	s := &heartbeatStream{
		link:        l,
		token:       sealSecret(token),
		raw:         raw,
		cancel:      cancel,
		isPeerEnded: isPeerEnded,
		done:        make(chan struct{}),
	}
	t.stream = s
	t.cfg.Metrics.countStream()
	go s.readResponses()
	return s, nil
}

// closeEndedStream closes a stream that has ended since the last heartbeat. That is not a failure: Global Controllers stop,
// and tokens expire.
func (t *grpcTransport) closeEndedStream() {
	s := t.stream
	if s == nil || !s.hasEnded() {
		return
	}
	if newFailure(context.Background(), s.err).code == codes.Unauthenticated {
		t.cfg.Tokens.Invalidate(s.token.open())
	}
	t.closeStream()
}

// closeStream cancels the stream and waits for its reader.
func (t *grpcTransport) closeStream() {
	s := t.stream
	if s == nil {
		return
	}
	t.stream = nil
	_ = s.raw.CloseSend() // It never fails.
	s.cancel()
	<-s.done
	t.connection.releaseStream(s.link)
}

func (s *heartbeatStream) hasEnded() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// readResponses passes on the response to the pending heartbeat. It drops all others: their heartbeats have timed out.
func (s *heartbeatStream) readResponses() {
	defer close(s.done)
	for {
		response, err := s.raw.Recv()
		if errors.Is(err, io.EOF) {
			err = errStreamEnded
		}
		if err != nil {
			s.err = err
			return
		}

		pending := s.pending.Load()
		if pending == nil || pending.sequence != response.GetSequence() {
			continue
		}
		select {
		case pending.response <- response:
		default: // The response is a repetition.
		}
	}
}

// send sends a heartbeat and waits for its response until ctx ends. The end of ctx cancels the stream, because the call may
// block in any of its steps.
func (s *heartbeatStream) send(ctx context.Context, request *streamRequest) (*streamResponse, error) {
	stop := context.AfterFunc(ctx, s.cancel)
	defer stop()

	s.lastSequence++
	pending := &pendingHeartbeat{sequence: s.lastSequence, response: make(chan *streamResponse, 1)}
	s.pending.Store(pending)
	defer s.pending.Store(nil)

	request.Sequence = pending.sequence
	if err := s.raw.Send(request); err != nil {
		s.cancel() // A message that cannot be sent does not end the stream.
		<-s.done
		return nil, s.err // The reader has the cause; err is only io.EOF.
	}

	select {
	case response := <-pending.response:
		return response, nil
	case <-s.done:
	}
	select {
	case response := <-pending.response: // It arrived just before the end of the stream.
		return response, nil
	default:
		return nil, s.err
	}
}
