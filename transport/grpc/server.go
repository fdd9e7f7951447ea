// Package grpctransport serves the endpoints over gRPC: protobuf in, domain out, and back.
package grpctransport

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"darktower.example/global-controller/endpoints"
	"darktower.example/global-controller/proto/darktower"
	darktowerv1 "darktower.example/global-controller/proto/darktower/v1"
	globalcontrollerv1 "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
	"darktower.example/global-controller/transport"
)

// Limits that protect the server.
const (
	maxMessageBytes      = 64 << 10
	maxHeaderListBytes   = 64 << 10
	maxConcurrentStreams = 1000
	streamWorkers        = 128
	// The number of bytes that a caller may send ahead: on one stream, and on all streams of a connection.
	windowBytes           = 64 << 10
	connectionWindowBytes = 1 << 20
)

// Config is the configuration of a server.
type Config struct {
	Logger log.Logger
	// OnPanic is called for each panic that was caught. It may be nil.
	OnPanic func()
	// Health serves grpc.health.v1. It may be nil.
	Health healthgrpc.HealthServer
	// Reflection enables gRPC server reflection.
	Reflection bool
	// Shutdown is done when the shutdown of the server begins. It ends the streams that would never end by themselves. It may be nil.
	Shutdown context.Context //nolint:containedctx // It belongs to the server, not to a call.
	// CallTimeout is the maximum time of a unary call, including the time to receive the request. A heartbeat of a stream is stored
	// only within this time after its arrival. 0 for no limit.
	CallTimeout time.Duration
	// OnUnknownCall is called for each call of a service or method that is not served. It may be nil and must not block.
	OnUnknownCall func(address, method string)
	// StreamsPerSubject is the number of heartbeat streams that a token subject may have open at once; 0 is unlimited.
	StreamsPerSubject int
	// Authenticator verifies the token of an open stream again. If it is nil, streams outlive their tokens.
	Authenticator endpoints.Authenticator
	// workerIdleTime is for tests; 0 means the usual time.
	workerIdleTime time.Duration
}

// ServiceNames returns the services that the server's health covers.
func ServiceNames() []string {
	return []string{
		darktowerv1.GlobalControllerService_ServiceDesc.ServiceName,
		darktower.GlobalControllerService_ServiceDesc.ServiceName,
		globalcontrollerv1.FleetService_ServiceDesc.ServiceName,
		globalcontrollerv1.HeartbeatService_ServiceDesc.ServiceName,
		globalcontrollerv1.PlacementService_ServiceDesc.ServiceName,
	}
}

// NewServer returns a gRPC server that serves the endpoints under all of their names. options may add more, such as TLS credentials.
func NewServer(e endpoints.Endpoints, cfg Config, options ...grpc.ServerOption) *grpc.Server {
	calls := make(map[string]callKind)
	server := grpc.NewServer(append(serverOptions(cfg, calls), options...)...)

	mc := &controllerServer{endpoints: e}
	fleet := &fleetServer{endpoints: e, cfg: cfg, sendTimeout: defaultSendTimeout}
	server.RegisterService(withCallMetadata(darktowerv1.GlobalControllerService_ServiceDesc), mc)
	server.RegisterService(withCallMetadata(darktower.GlobalControllerService_ServiceDesc), mc)
	server.RegisterService(withCallMetadata(globalcontrollerv1.FleetService_ServiceDesc), fleet)
	server.RegisterService(withCallMetadata(globalcontrollerv1.PlacementService_ServiceDesc), &placementServer{endpoints: e})
	globalcontrollerv1.RegisterHeartbeatServiceServer(server, &heartbeatServer{
		endpoints:      e,
		cfg:            cfg,
		sendTimeout:    defaultSendTimeout,
		workerIdleTime: cmp.Or(cfg.workerIdleTime, defaultWorkerIdleTime),
	})

	if cfg.Health != nil {
		healthgrpc.RegisterHealthServer(server, cfg.Health)
	}
	if cfg.Reflection {
		reflection.Register(server)
	}
	maps.Copy(calls, callKinds(server))
	return server
}

// serverOptions returns the limits, the codec and the interceptors of the server. calls is filled before the first call.
func serverOptions(cfg Config, calls map[string]callKind) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxMessageBytes),
		grpc.MaxHeaderListSize(maxHeaderListBytes),
		grpc.MaxConcurrentStreams(maxConcurrentStreams),
		grpc.ConnectionTimeout(10 * time.Second),
		// Permanent goroutines have stacks that have already grown: 5 to 10 % of the server's CPU. While all of them are busy, a
		// call gets a goroutine of its own.
		grpc.NumStreamWorkers(streamWorkers),
		// The windows are fixed. Adaptive windows send a ping with every few messages to measure the connection, for bulk data that no
		// client sends here.
		grpc.InitialWindowSize(windowBytes),
		grpc.InitialConnWindowSize(connectionWindowBytes),

		grpc.InTapHandle(limitCallTime(cfg.CallTimeout, calls, cfg.OnUnknownCall)),
		grpc.ForceServerCodecV2(tolerantCodec{encoding.GetCodecV2("proto")}),
		grpc.UnaryInterceptor(recoverPanics(cfg)),
		grpc.ChainStreamInterceptor(endOnShutdown(cfg), recoverStreamPanics(cfg)),

		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: 15 * time.Minute,
			Time:              30 * time.Second,
			Timeout:           10 * time.Second,
		}),
		// Deployed controllers keep their idle connections alive. With the default policy the server would close those connections.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime:             5 * time.Second,
			PermitWithoutStream: true,
		}),
	}
}

// shutdownStarted returns a channel that is closed when the shutdown of the server begins, nil if it never does.
func (cfg Config) shutdownStarted() <-chan struct{} {
	if cfg.Shutdown == nil {
		return nil
	}
	return cfg.Shutdown.Done()
}

// checkToken returns an error if the token of an open stream no longer authenticates, nil if it does or if that cannot be decided.
func (cfg Config) checkToken(ctx context.Context) error {
	if cfg.Authenticator == nil {
		return nil
	}
	_, err := cfg.Authenticator.Authenticate(ctx, endpoints.CallFrom(ctx).Authorization)
	if errors.Is(err, service.ErrUnauthenticated) {
		return err
	}
	return nil
}

// endOnShutdown ends a stream when the shutdown of the server begins, whatever its handler waits for. The end of the stream ends the
// handler's context and its reads and writes, so the handler returns by itself.
func endOnShutdown(cfg Config) grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		switch {
		case info.FullMethod == globalcontrollerv1.HeartbeatService_StreamHeartbeats_FullMethodName:
			return handler(srv, stream) // It ends by itself, after the responses to the heartbeats that have arrived.
		case info.FullMethod == globalcontrollerv1.FleetService_Watch_FullMethodName:
			// It also ends by itself. There may be thousands of watches, so they get no second goroutine here.
			return handler(srv, &requestStream{ServerStream: stream, cfg: cfg})
		case cfg.Shutdown == nil:
			return handler(srv, stream)
		}

		ended := make(chan error, 1)
		go func() { ended <- handler(srv, stream) }()
		select {
		case err := <-ended:
			return err
		case <-cfg.shutdownStarted():
			return errStopping
		}
	}
}

// unary calls an endpoint: In and Out are the protobuf messages of the call, Req and Resp the types of the domain.
func unary[Req, Resp, In, Out any](
	ctx context.Context, e endpoints.Endpoint[Req, Resp], in In, decode func(In) Req, encode func(Resp) Out,
) (Out, error) {
	response, err := e.Call(ctx, decode(in), endpoints.CallFrom(ctx).DecodeErr)
	if err != nil {
		var zero Out
		return zero, statusError(err)
	}
	return encode(response), nil
}

// statusError returns the error that the caller receives for err.
func statusError(err error) error {
	s := transport.StatusOf(err)
	public := status.New(s.GRPC, s.Message)
	if s.RetryAfter > 0 {
		if detailed, err := public.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(s.RetryAfter)}); err == nil {
			public = detailed
		}
	}
	return public.Err()
}

func recoverPanics(cfg Config) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (response any, err error) {
		defer func() {
			if cause := recover(); cause != nil {
				cfg.reportPanic(info.FullMethod, cause)
				response, err = nil, status.Error(codes.Internal, "Internal error")
			}
		}()
		return handler(ctx, request)
	}
}

// recoverStreamPanics must come after [endOnShutdown], because a panic can be caught only in the goroutine of the handler.
func recoverStreamPanics(cfg Config) grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
		defer func() {
			if cause := recover(); cause != nil {
				cfg.reportPanic(info.FullMethod, cause)
				err = status.Error(codes.Internal, "Internal error")
			}
		}()
		return handler(srv, stream)
	}
}

// reportPanic logs and counts a panic that was caught. It must run in the goroutine of the panic, so that the stack is right.
func (cfg Config) reportPanic(method string, cause any) {
	_ = level.Error(cfg.Logger).Log("msg", "panic", "method", method, "cause", fmt.Sprint(cause), "stack", string(debug.Stack()))
	if cfg.OnPanic != nil {
		cfg.OnPanic()
	}
}
