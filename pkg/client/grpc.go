package client

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	darktowerv1 "darktower.example/global-controller/proto/darktower/v1"
	globalcontrollerv1 "darktower.example/global-controller/proto/globalcontroller/v1"
)

// grpcTransport calls a Global Controller over gRPC. It belongs to one session and is used by one goroutine.
type grpcTransport struct {
	cfg        *Config
	connection *Connection
	stream     *heartbeatStream // nil: none.

	// troubled tells that the last call failed. Only the first failure of a run has a second try at once: in an outage
	// a fleet must call no more often than its backoff says.
	troubled bool
	// address is the index of the address that the client moved to by itself, or sharedAddress.
	address int
	// failures are those since the last answer.
	failures failureRun
	// refused is the last token that was given up, until there is another one; nil: none.
	refused sealed
}

func newGRPCTransport(cfg *Config, connection *Connection) *grpcTransport {
	return &grpcTransport{cfg: cfg, connection: connection, address: sharedAddress}
}

func (t *grpcTransport) register(ctx context.Context) (answer, error) {
	return t.call(ctx, func(ctx context.Context, l *link, token string) (answer, outcome) {
		var response *darktowerv1.RegisterMCResponse
		end := t.unary(ctx, token, methodRegister, func(ctx context.Context) (acknowledged bool, err error) {
			response, err = darktowerv1.NewGlobalControllerServiceClient(l.conn).RegisterMC(ctx, t.registration())
			return response.GetAccepted(), err
		})
		return answerFrom(response.GetFastHeartbeatIntervalMs(), response.GetComprehensiveHeartbeatIntervalMs(), response.GetRetryAfterMs(), response.GetOperatorIntent()), end
	})
}

func (t *grpcTransport) heartbeat(ctx context.Context, r report) (answer, error) {
	return t.call(ctx, func(ctx context.Context, l *link, token string) (answer, outcome) {
		if !t.cfg.NoStream {
			if a, end, offered := t.overStream(ctx, l, token, r); offered {
				return a, end
			}
		}
		return t.unaryHeartbeat(ctx, l, token, r)
	})
}

// dictating is what both heartbeats' answers, and those of a stream, have in common.
type dictating interface {
	GetAcknowledged() bool
	GetOperatorIntent() *darktowerv1.OperatorIntent
	GetFastHeartbeatIntervalMs() uint64
	GetComprehensiveHeartbeatIntervalMs() uint64
	GetRetryAfterMs() uint64
}

func (t *grpcTransport) unaryHeartbeat(ctx context.Context, l *link, token string, r report) (answer, outcome) {
	var response dictating
	end := t.unary(ctx, token, r.method(), func(ctx context.Context) (_ bool, err error) {
		calls := darktowerv1.NewGlobalControllerServiceClient(l.conn)
		if r.comprehensive {
			response, err = calls.ComprehensiveHeartbeat(ctx, t.comprehensive(r))
		} else {
			response, err = calls.FastHeartbeat(ctx, t.fast(r))
		}
		return response.GetAcknowledged(), err
	})
	if end.err != nil {
		return answer{}, end
	}
	return heartbeatAnswer(response), end
}

func (t *grpcTransport) deregister(ctx context.Context) error {
	_, err := t.call(ctx, func(ctx context.Context, l *link, token string) (answer, outcome) {
		end := t.unary(ctx, token, methodDeregister, func(ctx context.Context) (bool, error) {
			_, err := globalcontrollerv1.NewFleetServiceClient(l.conn).Deregister(ctx, &globalcontrollerv1.DeregisterRequest{
				ControllerId: t.cfg.ControllerID, Incarnation: t.cfg.Incarnation, Reason: "The controller shuts down",
			})
			return err == nil, err
		})
		return answer{}, end
	})
	return err
}

// close implements transport.
func (t *grpcTransport) close() { t.closeStream() }

// outcome is how an attempt ended.
type outcome struct {
	err *failure // nil: well.
	// token is the one that the call was made with.
	token string
	// peer tells that it was the Global Controller that ended the call, and not the connection.
	peer bool
	// stale tells that a stream was used that may have been dead before.
	stale bool
	// ended is true if the stream ended, false if one heartbeat was refused.
	ended bool
}

// attempt makes a call once.
type attempt func(ctx context.Context, l *link, token string) (answer, outcome)

// call makes one call, and tries it a second time at once where that is likely to help.
func (t *grpcTransport) call(ctx context.Context, make attempt) (answer, error) {
	a, end, again := t.once(ctx, make)
	if again && ctx.Err() == nil {
		t.troubled = true
		a, end, _ = t.once(ctx, make)
	}
	t.troubled = end.err != nil
	if end.err != nil {
		return answer{}, end.err
	}
	return a, nil
}

// once makes one attempt, and reports whether another one at once is likely to end differently.
func (t *grpcTransport) once(ctx context.Context, make attempt) (a answer, end outcome, again bool) {
	t.sweep()
	token, err := t.token(ctx)
	if err != nil {
		return answer{}, outcome{err: err}, false
	}
	l, failed := t.connection.acquire(t.address)
	if failed != nil {
		return answer{}, outcome{err: &failure{code: codes.Unavailable, message: "cannot connect", err: failed}}, false
	}
	defer t.connection.release(l)

	began := time.Now()
	a, end = make(ctx, l, token)
	switch {
	case end.err == nil, isAnswer(end.err.code):
		l.markAnswered()
		t.failures = failureRun{}
		return a, end, false
	case ctx.Err() != nil: // The caller gave up; that is no evidence about the Global Controller.
		return a, end, false
	}
	return a, end, t.judge(ctx, l, end, began)
}

// unary makes a call with its deadline and tells who wants to know.
func (t *grpcTransport) unary(ctx context.Context, token, method string, do func(context.Context) (acknowledged bool, err error)) outcome {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.CallTimeout)
	defer cancel()
	ctx, peer := withEar(ctx)
	began := time.Now()
	acknowledged, err := do(authorized(ctx, token))
	end := outcome{token: token, peer: peer.Load()}
	switch {
	case err != nil:
		end.err = failureFrom(ctx, err)
	case !acknowledged:
		end.err = &failure{code: codes.Unknown, err: errNoAck}
	}
	t.observe(method, began, end.err, false)
	return end
}

func (t *grpcTransport) observe(method string, began time.Time, err *failure, stream bool) {
	call := Call{Method: method, Began: began, Took: time.Since(began), Stream: stream}
	if err != nil {
		call.Code, call.Err = err.code, err
	}
	t.cfg.Metrics.called(method, call.Code, call.Took)
	t.cfg.OnCall(call)
}

func authorized(ctx context.Context, token string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
}
