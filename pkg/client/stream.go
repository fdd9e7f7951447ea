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

// streamRetry is how long heartbeats are calls after a Global Controller refused a stream because it had too many.
const streamRetry = time.Minute

type (
	streamRequest  = globalcontrollerv1.StreamHeartbeatsRequest
	streamResponse = globalcontrollerv1.StreamHeartbeatsResponse
)

// heartbeatStream carries the heartbeats of one controller, one after the other. It is opened at a heartbeat and
// closed at one; when it ends by itself in between, nobody needs to know before the next.
type heartbeatStream struct {
	link   *link
	token  sealed
	raw    grpc.BidiStreamingClient[streamRequest, streamResponse]
	cancel context.CancelFunc
	peer   *atomic.Bool // Whether the Global Controller ended it.

	sequence uint64
	awaited  atomic.Pointer[awaited] // nil: nothing.
	ended    chan struct{}           // Closed when the reader has ended, with why in err.
	err      error
}

// awaited is the answer to one heartbeat. Each has a channel of its own, so that what comes too late or twice is never
// taken for the answer to the next.
type awaited struct {
	sequence uint64
	answer   chan *streamResponse // Has room for it.
}

// overStream sends a heartbeat over a stream, a new one when there is none that is fit for it. It tells whether
// streams are to be had.
func (t *grpcTransport) overStream(ctx context.Context, l *link, token string, r report) (a answer, end outcome, offered bool) {
	if s := t.stream; s != nil && (s.token.open() != token || s.link != l) {
		t.closeStream()
	}
	reused := t.stream != nil
	if l.noStream.Load() || !reused && (time.Now().UnixNano() < l.streamAgain.Load() || !t.connection.holdStream(l)) {
		return answer{}, outcome{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, t.cfg.CallTimeout)
	defer cancel()
	began := time.Now()
	method := r.method()
	a, end = t.exchange(ctx, l, token, r)
	// What the stream itself was refused for is no answer to a heartbeat.
	switch {
	case end.err != nil && end.err.code == codes.Unimplemented:
		l.noStream.Store(true)
		method = methodStream
	case end.err != nil && end.err.code == codes.ResourceExhausted && end.ended && !reused:
		l.streamAgain.Store(began.Add(streamRetry).UnixNano())
		method = methodStream
	default:
		offered = true
	}
	end.stale = reused && end.stale
	t.observe(method, began, end.err, true)
	return a, end, offered
}

func (t *grpcTransport) exchange(ctx context.Context, l *link, token string, r report) (answer, outcome) {
	s := t.stream
	if s == nil {
		var err error
		if s, err = t.open(ctx, l, token); err != nil {
			t.connection.releaseStream(l)
			return answer{}, outcome{err: failureFrom(ctx, err), token: token}
		}
	}
	response, err := s.send(ctx, t.request(r))
	if err != nil {
		t.closeStream() // So that the reader has ended, and what it noted can be read.
		end := outcome{err: failureFrom(ctx, err), token: token, peer: s.peer.Load(), ended: true}
		end.stale = ctx.Err() == nil && end.err.code == codes.Unavailable
		return answer{}, end
	}
	end := outcome{token: token, peer: true}
	switch code := codes.Code(max(0, response.GetCode())); {
	case code != codes.OK:
		end.err = &failure{code: code, message: response.GetMessage(), retryAfter: milliseconds(response.GetRetryAfterMs())}
	case !response.GetAcknowledged():
		end.err = &failure{code: codes.Unknown, err: errNoAck}
	}
	return heartbeatAnswer(response), end
}

func (t *grpcTransport) request(r report) *streamRequest {
	if r.comprehensive {
		return &streamRequest{Heartbeat: &globalcontrollerv1.StreamHeartbeatsRequest_Comprehensive{Comprehensive: t.comprehensive(r)}}
	}
	return &streamRequest{Heartbeat: &globalcontrollerv1.StreamHeartbeatsRequest_Fast{Fast: t.fast(r)}}
}

// open begins a stream that outlives ctx, which bounds the beginning only.
func (t *grpcTransport) open(ctx context.Context, l *link, token string) (*heartbeatStream, error) {
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	life, peer := withEar(life)
	unbind := context.AfterFunc(ctx, cancel)
	defer unbind()
	raw, err := globalcontrollerv1.NewHeartbeatServiceClient(l.conn).StreamHeartbeats(authorized(life, token))
	if err != nil {
		cancel()
		return nil, err
	}
	s := &heartbeatStream{link: l, token: seal(token), raw: raw, cancel: cancel, peer: peer, ended: make(chan struct{})}
	t.stream = s
	t.cfg.Metrics.streamOpened()
	go s.read()
	return s, nil
}

// sweep puts away a stream that has ended since the last heartbeat. That is no failure: Global Controllers stop, and
// tokens run out.
func (t *grpcTransport) sweep() {
	s := t.stream
	if s == nil || !s.over() {
		return
	}
	if failureFrom(context.Background(), s.err).code == codes.Unauthenticated {
		t.cfg.Tokens.Invalidate(s.token.open())
	}
	t.closeStream()
}

// closeStream waits for the reader, which has nothing else to wait for any more.
func (t *grpcTransport) closeStream() {
	s := t.stream
	if s == nil {
		return
	}
	t.stream = nil
	_ = s.raw.CloseSend() // It never fails.
	s.cancel()
	<-s.ended
	t.connection.releaseStream(s.link)
}

func (s *heartbeatStream) over() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// read passes on the answer that is waited for, and drops all others: whoever asked for them has given up.
func (s *heartbeatStream) read() {
	defer close(s.ended)
	for {
		response, err := s.raw.Recv()
		if errors.Is(err, io.EOF) {
			err = errStreamOver
		}
		if err != nil {
			s.err = err
			return
		}
		waiting := s.awaited.Load()
		if waiting == nil || waiting.sequence != response.GetSequence() {
			continue
		}
		select {
		case waiting.answer <- response:
		default: // The same answer once more.
		}
	}
}

// send waits for the answer, no longer than ctx lasts: its end ends the stream, which may be stuck anywhere.
func (s *heartbeatStream) send(ctx context.Context, request *streamRequest) (*streamResponse, error) {
	unbind := context.AfterFunc(ctx, s.cancel)
	defer unbind()
	s.sequence++
	waiting := &awaited{s.sequence, make(chan *streamResponse, 1)}
	s.awaited.Store(waiting)
	defer s.awaited.Store(nil)
	request.Sequence = s.sequence
	if err := s.raw.Send(request); err != nil {
		s.cancel() // A message that cannot be sent ends no stream by itself.
		<-s.ended  // Why, the reader learns: here it is only the end.
		return nil, s.err
	}
	select {
	case response := <-waiting.answer:
		return response, nil
	case <-s.ended:
	}
	select {
	case response := <-waiting.answer: // The last before the end.
		return response, nil
	default:
		return nil, s.err
	}
}
