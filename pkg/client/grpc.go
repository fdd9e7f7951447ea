package client

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	darktowerv1 "darktower.example/global-controller/proto/darktower/v1"
	globalcontrollerv1 "darktower.example/global-controller/proto/globalcontroller/v1"
)

// grpcTransport calls a Global Controller over gRPC. It belongs to one registration loop and is used by one goroutine.
type grpcTransport struct {
	cfg        *Config
	connection *Connection
	stream     *heartbeatStream // nil: none.

	// hasFailed is true if the last attempt failed. Only the first failure of a row is retried at once: during an outage, a
	// fleet must not call more often than its backoff allows.
	hasFailed bool
	// addressIndex is the address that this client moved to alone, or sharedAddress.
	addressIndex int
	// failures are those since the last response.
	failures failureStreak
	// refusedToken is the last token that was invalidated, until there is another one; nil: none.
	refusedToken sealedSecret
}

func newGRPCTransport(cfg *Config, connection *Connection) *grpcTransport {
	return &grpcTransport{cfg: cfg, connection: connection, addressIndex: sharedAddress}
}

func (t *grpcTransport) register(ctx context.Context) (callResponse, error) {
	return t.call(ctx, func(ctx context.Context, l *link, token string) (callResponse, outcome) {
		var response *darktowerv1.RegisterMCResponse
		end := t.callUnary(ctx, token, methodRegister, func(ctx context.Context) (isAcknowledged bool, err error) {
			response, err = darktowerv1.NewGlobalControllerServiceClient(l.conn).RegisterMC(ctx, t.registerRequest())
			return response.GetAccepted(), err
		})
		return callResponseFromProto(response), end
	})
}

func (t *grpcTransport) heartbeat(ctx context.Context, r heartbeatReport) (callResponse, error) {
	return t.call(ctx, func(ctx context.Context, l *link, token string) (callResponse, outcome) {
		if !t.cfg.NoStream {
			if response, end, hasStream := t.heartbeatOverStream(ctx, l, token, r); hasStream {
				return response, end
			}
		}
		return t.heartbeatUnary(ctx, l, token, r)
	})
}

func (t *grpcTransport) heartbeatUnary(ctx context.Context, l *link, token string, r heartbeatReport) (callResponse, outcome) {
	var response protoHeartbeatResponse
	end := t.callUnary(ctx, token, r.method(), func(ctx context.Context) (isAcknowledged bool, err error) {
		service := darktowerv1.NewGlobalControllerServiceClient(l.conn)
		if r.isComprehensive {
			response, err = service.ComprehensiveHeartbeat(ctx, t.comprehensiveRequest(r))
		} else {
			response, err = service.FastHeartbeat(ctx, t.fastRequest(r))
		}
		return response.GetAcknowledged(), err
	})

	if end.err != nil {
		return callResponse{}, end
	}
	return callResponseFromProto(response), end
}

func (t *grpcTransport) deregister(ctx context.Context) error {
	_, err := t.call(ctx, func(ctx context.Context, l *link, token string) (callResponse, outcome) {
		end := t.callUnary(ctx, token, methodDeregister, func(ctx context.Context) (isAcknowledged bool, err error) {
			_, err = globalcontrollerv1.NewFleetServiceClient(l.conn).Deregister(ctx, &globalcontrollerv1.DeregisterRequest{
				ControllerId: t.cfg.ControllerID,
				Incarnation:  t.cfg.Incarnation,
				Reason:       "The controller shuts down",
			})
			return err == nil, err
		})
		return callResponse{}, end
	})
	return err
}

// close implements transport.
func (t *grpcTransport) close() { t.closeStream() }

// outcome is the result of one attempt.
type outcome struct {
	err *failure // nil: success.
	// token is the token that the call was made with.
	token string
	// isPeerEnded is true if the Global Controller ended the call, false if the connection did.
	isPeerEnded bool
	// hasOldStream is true if the call failed on a stream that was open before and may have broken before the call.
	hasOldStream bool
	// isStreamEnded is true if the stream ended, false if the Global Controller refused one heartbeat on it.
	isStreamEnded bool
}

// attemptFunc makes one attempt at a call.
type attemptFunc func(ctx context.Context, l *link, token string) (callResponse, outcome)

// call makes one attempt, and a second one at once if that is likely to succeed.
func (t *grpcTransport) call(ctx context.Context, attempt attemptFunc) (callResponse, error) {
	response, end, shouldRetry := t.attemptOnce(ctx, attempt)
	if shouldRetry && ctx.Err() == nil {
		t.hasFailed = true
		response, end, _ = t.attemptOnce(ctx, attempt)
	}

	t.hasFailed = end.err != nil
	if end.err != nil {
		return callResponse{}, end.err
	}
	return response, nil
}

// attemptOnce makes one attempt, and reports whether another attempt at once is likely to end differently.
func (t *grpcTransport) attemptOnce(ctx context.Context, attempt attemptFunc) (_ callResponse, end outcome, shouldRetry bool) {
	t.closeEndedStream()
	token, err := t.token(ctx)
	if err != nil {
		return callResponse{}, outcome{err: err}, false
	}
	l, connectErr := t.connection.acquire(t.addressIndex)
	if connectErr != nil {
		return callResponse{}, outcome{err: &failure{code: codes.Unavailable, message: "cannot connect", err: connectErr}}, false
	}
	defer t.connection.release(l)

	began := time.Now()
	response, end := attempt(ctx, l, token)
	switch {
	case end.err == nil, isConclusive(end.err.code):
		l.markResponse()
		t.failures = failureStreak{}
		return response, end, false
	case ctx.Err() != nil: // The caller cancelled the call, which shows nothing about the Global Controller.
		return response, end, false
	}
	return response, end, t.handleFailure(ctx, l, end, began)
}

// callUnary makes a unary call with its timeout and reports the attempt. do returns whether the response acknowledges the
// call.
func (t *grpcTransport) callUnary(
	ctx context.Context, token, method string, do func(context.Context) (isAcknowledged bool, err error),
) outcome {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.CallTimeout)
	defer cancel()
	ctx, isPeerEnded := withPeerEndedFlag(ctx)

	began := time.Now()
	isAcknowledged, err := do(withToken(ctx, token))
	end := outcome{token: token, isPeerEnded: isPeerEnded.Load()}
	switch {
	case err != nil:
		end.err = newFailure(ctx, err)
	case !isAcknowledged:
		end.err = &failure{code: codes.Unknown, err: errNotAcknowledged}
	}

	t.reportCall(method, began, end.err, false)
	return end
}

// reportCall reports an attempt to the metrics and to OnCall.
func (t *grpcTransport) reportCall(method string, began time.Time, err *failure, isStream bool) {
	call := Call{Method: method, Began: began, Took: time.Since(began), Stream: isStream}
	if err != nil {
		call.Code = err.code
		call.Err = err
	}
	t.cfg.Metrics.observeCall(method, call.Code, call.Took)
	t.cfg.OnCall(call)
}

func withToken(ctx context.Context, token string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
}
