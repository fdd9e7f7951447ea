// Package grpctransport serves the endpoints over gRPC: protobuf in, domain out, and back.
package grpctransport

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"net"
	"runtime/debug"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
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

// The limits that protect the server.
const (
	maxMessageBytes      = 64 << 10
	maxHeaderListBytes   = 64 << 10
	maxConcurrentStreams = 1000
	streamWorkers        = 128
	// How much a caller may send ahead: on one stream, and on all streams of a connection.
	windowBytes           = 64 << 10
	connectionWindowBytes = 1 << 20
	requestIDBytes        = 128
)

// Config is what a server needs beside the endpoints.
type Config struct {
	Logger log.Logger
	// OnPanic counts a panic that was caught; nil for nobody.
	OnPanic func()
	// Health answers grpc.health.v1; nil for nobody.
	Health healthgrpc.HealthServer
	// Reflection lets tools ask which services there are.
	Reflection bool
	// Draining is done when the server is about to stop, which ends the streams that would never end by themselves.
	Draining context.Context //nolint:containedctx // It is no call's context but the server's own life.
	// CallBound is how long a call may take, what its caller still has to send included, and how long after its arrival a
	// heartbeat of a stream is still stored. 0 for no bound.
	CallBound time.Duration
	// Unknown counts a call to a service or method that is not served. It may be nil and must not block.
	Unknown func(address, method string)
	// StreamsPerSubject is how many streams of heartbeats a token subject may have open at once; 0 is unlimited.
	StreamsPerSubject int
	// Authenticator tells whether the token of a stream has run out when a limit hides that; nil for nobody.
	Authenticator endpoints.Authenticator
	// workerIdle is for tests that cannot wait; 0: as usual.
	workerIdle time.Duration
}

// ServiceNames are the services that the health of this server speaks for.
func ServiceNames() []string {
	return []string{
		darktowerv1.GlobalControllerService_ServiceDesc.ServiceName, darktower.GlobalControllerService_ServiceDesc.ServiceName,
		globalcontrollerv1.FleetService_ServiceDesc.ServiceName, globalcontrollerv1.HeartbeatService_ServiceDesc.ServiceName,
	}
}

// NewServer returns a gRPC server that serves the endpoints under every name they are known by. More options, such
// as TLS credentials, may follow.
func NewServer(e endpoints.Endpoints, cfg Config, options ...grpc.ServerOption) *grpc.Server {
	calls := make(map[string]callKind)
	server := grpc.NewServer(append([]grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxMessageBytes),
		grpc.MaxHeaderListSize(maxHeaderListBytes),
		grpc.MaxConcurrentStreams(maxConcurrentStreams),
		grpc.ConnectionTimeout(10 * time.Second),
		// Goroutines that stay have stacks that have grown already: 5 to 10 % of the server's CPU. What comes when all are at
		// work has one of its own.
		grpc.NumStreamWorkers(streamWorkers),
		// Fixed windows: with those that adapt, every few messages carry a ping back and forth to measure the line, for
		// the sake of bulk data that nobody sends here.
		grpc.InitialWindowSize(windowBytes),
		grpc.InitialConnWindowSize(connectionWindowBytes),
		grpc.InTapHandle(bound(cfg.CallBound, calls, cfg.Unknown)),
		grpc.ForceServerCodecV2(lenient{encoding.GetCodecV2("proto")}),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: 15 * time.Minute, Time: 30 * time.Second, Timeout: 10 * time.Second}),
		// Controllers in the field keep their idle connections alive; the default would hang up on them.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.UnaryInterceptor(recoverPanics(cfg)),
		grpc.ChainStreamInterceptor(endWhenDraining(cfg.Draining, cfg.CallBound), recoverStreamPanics(cfg)),
	}, options...)...)
	mc := &controllerServer{endpoints: e}
	server.RegisterService(described(darktowerv1.GlobalControllerService_ServiceDesc), mc)
	server.RegisterService(described(darktower.GlobalControllerService_ServiceDesc), mc)
	server.RegisterService(described(globalcontrollerv1.FleetService_ServiceDesc), &fleetServer{endpoints: e, cfg: cfg, sendBound: sendBound})
	globalcontrollerv1.RegisterHeartbeatServiceServer(server, &heartbeatServer{
		endpoints:  e,
		cfg:        cfg,
		sendBound:  sendBound,
		workerIdle: cmp.Or(cfg.workerIdle, workerIdle),
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

// endWhenDraining ends a stream when the server drains, whatever its handler waits for: what it receives and sends, and
// its context, end with the stream, so the handler is left to find that out by itself.
func endWhenDraining(draining context.Context, callBound time.Duration) grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		switch {
		case info.FullMethod == globalcontrollerv1.HeartbeatService_StreamHeartbeats_FullMethodName:
			return handler(srv, stream) // Heartbeats that have arrived are still answered, so their stream ends by itself.
		case info.FullMethod == globalcontrollerv1.FleetService_Watch_FullMethodName:
			// It ends by itself as well, and there may be thousands.
			return handler(srv, &requestStream{stream, callBound, draining})
		case draining == nil:
			return handler(srv, stream)
		}
		ended := make(chan error, 1)
		go func() { ended <- handler(srv, stream) }()
		select {
		case err := <-ended:
			return err
		case <-draining.Done():
			return errStopping
		}
	}
}

// unary calls an endpoint with a message of the wire: what Req and Resp are to the domain, In and Out are to protobuf.
func unary[Req, Resp, In, Out any](ctx context.Context, e endpoints.Endpoint[Req, Resp], in In, decode func(In) Req, encode func(Resp) Out) (Out, error) {
	response, err := e.Call(ctx, decode(in), endpoints.CallFrom(ctx).DecodeErr)
	if err != nil {
		var none Out
		return none, statusError(err)
	}
	return encode(response), nil
}

// statusError is what a caller sees of an error.
func statusError(err error) error {
	s := transport.StatusOf(err)
	seen := status.New(s.GRPC, s.Message)
	if s.RetryAfter > 0 {
		if detailed, err := seen.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(s.RetryAfter)}); err == nil {
			seen = detailed
		}
	}
	return seen.Err()
}

// newCall describes a call to the middleware.
func newCall(ctx context.Context, transportName string) *endpoints.Call {
	call := &endpoints.Call{
		Transport:     transportName,
		RequestID:     requestID(metadata.ValueFromIncomingContext(ctx, "x-request-id")),
		Authorization: metadata.ValueFromIncomingContext(ctx, "authorization"),
	}
	if p, ok := peer.FromContext(ctx); ok {
		call.Address, call.Connection = host(p.Addr), p.Addr
	}
	return call
}

// connectionOf returns the address of the connection of a call, empty if unknown.
func connectionOf(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr.String()
	}
	return ""
}

// host is an address without its port.
func host(address net.Addr) string {
	if tcp, ok := address.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().String()
	}
	name, _, err := net.SplitHostPort(address.String())
	if err != nil {
		return address.String()
	}
	return name
}

// requestID takes the caller's id when it is one that is safe to log and to send back, and makes one otherwise.
func requestID(received []string) string {
	if len(received) == 1 && service.ValidName(received[0], requestIDBytes) {
		return received[0]
	}
	return uuid.NewString()
}

func recoverPanics(cfg Config) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (response any, err error) {
		defer func() {
			if cause := recover(); cause != nil {
				cfg.panicked(info.FullMethod, cause)
				response, err = nil, status.Error(codes.Internal, "Internal error")
			}
		}()
		return handler(ctx, request)
	}
}

// recoverStreamPanics comes after [endWhenDraining]: a panic can only be caught where the handler runs.
func recoverStreamPanics(cfg Config) grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
		defer func() {
			if cause := recover(); cause != nil {
				cfg.panicked(info.FullMethod, cause)
				err = status.Error(codes.Internal, "Internal error")
			}
		}()
		return handler(srv, stream)
	}
}

// panicked reports a panic that was caught, from where it was.
func (cfg Config) panicked(method string, cause any) {
	_ = level.Error(cfg.Logger).Log("msg", "panic", "method", method, "cause", fmt.Sprint(cause), "stack", string(debug.Stack()))
	if cfg.OnPanic != nil {
		cfg.OnPanic()
	}
}

// clampUint32 converts a count of the store, which is never negative and fits.
func clampUint32(n int64) uint32 {
	return uint32(max(0, min(n, math.MaxUint32)))
}
