package grpctransport

import (
	"bytes"
	"context"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"darktower.example/global-controller/endpoints"
	"darktower.example/global-controller/service"
	"darktower.example/global-controller/transport"
)

// limitCallTime gives every unary call its deadline before its message is read. So a caller that never finishes sending holds no
// resources for longer. Streams get no deadline. A timeout of 0 means no deadline. Calls of methods that are not served are reported to
// onUnknown, which may be nil.
func limitCallTime(timeout time.Duration, calls map[string]callKind, onUnknown func(address, method string)) tap.ServerInHandle {
	return func(ctx context.Context, info *tap.Info) (context.Context, error) {
		kind, ok := calls[info.FullMethodName]
		if !ok && onUnknown != nil {
			address := ""
			if p, ok := peer.FromContext(ctx); ok {
				address = hostOf(p.Addr)
			}
			onUnknown(address, info.FullMethodName)
		}

		if timeout == 0 || kind != callUnary {
			return ctx, nil
		}
		limited, _ := withTimeout(ctx, timeout)
		return limited, nil
	}
}

// withTimeout is [context.WithTimeout]. It is a variable because vet requires a call of the second result. That call is not needed
// here: gRPC cancels the parent context at the end of the call.
var withTimeout = context.WithTimeout

// newCall returns the description of a call for the middleware.
func newCall(ctx context.Context, transportName string) *endpoints.Call {
	call := &endpoints.Call{
		Transport:     transportName,
		RequestID:     transport.RequestID(metadata.ValueFromIncomingContext(ctx, "x-request-id")),
		Authorization: metadata.ValueFromIncomingContext(ctx, "authorization"),
	}
	if p, ok := peer.FromContext(ctx); ok {
		call.Address, call.Connection = hostOf(p.Addr), p.Addr
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

// hostOf returns an address without its port.
func hostOf(address net.Addr) string {
	if tcp, ok := address.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().String()
	}
	name, _, err := net.SplitHostPort(address.String())
	if err != nil {
		return address.String()
	}
	return name
}

// callKind distinguishes unary and streaming calls.
type callKind uint8

const (
	callUnknown callKind = iota
	callUnary
	callStreaming
)

// callKinds returns the kinds of a server's methods by their full names.
func callKinds(server *grpc.Server) map[string]callKind {
	kinds := make(map[string]callKind)
	for name, info := range server.GetServiceInfo() {
		for _, method := range info.Methods {
			kind := callUnary
			if method.IsClientStream || method.IsServerStream {
				kind = callStreaming
			}
			kinds["/"+name+"/"+method.Name] = kind
		}
	}
	return kinds
}

// withCallMetadata returns a service whose handlers describe each call to the middleware and send the caller its request id.
//
// A message that cannot be decoded also reaches the middleware. So a caller without a valid token gets only the error about the
// token. Other callers get the error about the message.
func withCallMetadata(desc grpc.ServiceDesc) *grpc.ServiceDesc {
	methods := make([]grpc.MethodDesc, len(desc.Methods))
	for i, method := range desc.Methods {
		methods[i] = grpc.MethodDesc{MethodName: method.MethodName, Handler: describeCall(method.Handler)}
	}
	desc.Methods = methods
	return &desc
}

// describeCall returns a handler that puts the description of the call into its context.
func describeCall(handler grpc.MethodHandler) grpc.MethodHandler {
	return func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		call := newCall(ctx, "grpc")
		if err := grpc.SetHeader(ctx, metadata.Pairs("x-request-id", call.RequestID)); err != nil {
			return nil, statusError(err)
		}

		decodeAndCheck := func(message any) error {
			err := decode(message)
			if isMalformed(message) {
				call.DecodeErr = service.Invalid("request is not valid protobuf")
			}
			return err
		}
		return handler(srv, endpoints.WithCall(ctx, call), decodeAndCheck, interceptor)
	}
}

// tolerantCodec is the codec of protobuf, except that it marks a message that it cannot decode and returns no error. With an error,
// gRPC would respond by itself, with INTERNAL and before the token is verified.
type tolerantCodec struct{ encoding.CodecV2 }

func (c tolerantCodec) Unmarshal(data mem.BufferSlice, v any) error {
	err := c.CodecV2.Unmarshal(data, v)
	if m, ok := v.(proto.Message); ok && err != nil {
		proto.Reset(m)
		m.ProtoReflect().SetUnknown(malformedMark)
		return nil
	}
	return err
}

// encodedMessage is a message that is already encoded.
type encodedMessage []byte

// Marshal passes an encoded message on, so that a message for many clients is encoded once.
func (c tolerantCodec) Marshal(v any) (mem.BufferSlice, error) {
	if ready, ok := v.(encodedMessage); ok {
		return mem.BufferSlice{mem.SliceBuffer(ready)}, nil
	}
	return c.CodecV2.Marshal(v)
}

// malformedMark marks a message that could not be decoded: an empty field with the highest possible number.
var malformedMark = protowire.AppendBytes(protowire.AppendTag(nil, protowire.MaxValidNumber, protowire.BytesType), nil)

func isMalformed(message any) bool {
	m, ok := message.(proto.Message)
	return ok && bytes.Equal(m.ProtoReflect().GetUnknown(), malformedMark)
}
