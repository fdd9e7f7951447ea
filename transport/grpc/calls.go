package grpctransport

import (
	"bytes"
	"context"
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
)

// bound gives every unary call its deadline before its message is read, so that a caller which never finishes sending
// holds nothing for longer. Streams have no such end, and without a limit nothing has.
// Calls of methods that are not served are reported to unknown, which may be nil.
func bound(limit time.Duration, calls map[string]callKind, unknown func(address, method string)) tap.ServerInHandle {
	return func(ctx context.Context, info *tap.Info) (context.Context, error) {
		kind, ok := calls[info.FullMethodName]
		if !ok && unknown != nil {
			address := ""
			if p, ok := peer.FromContext(ctx); ok {
				address = host(p.Addr)
			}
			unknown(address, info.FullMethodName)
		}
		if limit == 0 || kind != unaryCall {
			return ctx, nil
		}
		bounded, _ := withTimeout(ctx, limit)
		return bounded, nil
	}
}

// withTimeout is a variable because vet wants its second result to be called, which would take another context: the end
// of a call cancels the context that gRPC gave it, and with that this one.
var withTimeout = context.WithTimeout

// callKind is how often a call is answered.
type callKind uint8

const (
	noCall callKind = iota
	unaryCall
	streamingCall
)

// callKinds returns the kinds of a server's calls by their full names.
func callKinds(server *grpc.Server) map[string]callKind {
	kinds := make(map[string]callKind)
	for name, info := range server.GetServiceInfo() {
		for _, method := range info.Methods {
			kind := unaryCall
			if method.IsClientStream || method.IsServerStream {
				kind = streamingCall
			}
			kinds["/"+name+"/"+method.Name] = kind
		}
	}
	return kinds
}

// described returns a service whose handlers tell the middleware about each call, and the caller its request id. They
// come to the middleware whatever became of the message, so that a caller without a valid token learns only that, and
// one with a token learns what is wrong.
func described(desc grpc.ServiceDesc) *grpc.ServiceDesc {
	methods := make([]grpc.MethodDesc, len(desc.Methods))
	for i, method := range desc.Methods {
		methods[i] = grpc.MethodDesc{MethodName: method.MethodName, Handler: func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			call := newCall(ctx, "grpc")
			if err := grpc.SetHeader(ctx, metadata.Pairs("x-request-id", call.RequestID)); err != nil {
				return nil, statusError(err)
			}
			return method.Handler(srv, endpoints.WithCall(ctx, call), func(message any) error {
				err := decode(message)
				if isMalformed(message) {
					call.DecodeErr = service.Invalid("request is not valid protobuf")
				}
				return err
			}, interceptor)
		}}
	}
	desc.Methods = methods
	return &desc
}

// lenient is the codec of protobuf, which marks a message that it cannot read instead of failing: gRPC would answer that
// by itself, with INTERNAL and before any token was looked at.
type lenient struct{ encoding.CodecV2 }

func (c lenient) Unmarshal(data mem.BufferSlice, v any) error {
	err := c.CodecV2.Unmarshal(data, v)
	if m, ok := v.(proto.Message); ok && err != nil {
		proto.Reset(m)
		m.ProtoReflect().SetUnknown(malformed)
		return nil
	}
	return err
}

// encoded is a message that is protobuf already.
type encoded []byte

// Marshal passes on what is encoded already: what many are sent is encoded once.
func (c lenient) Marshal(v any) (mem.BufferSlice, error) {
	if ready, ok := v.(encoded); ok {
		return mem.BufferSlice{mem.SliceBuffer(ready)}, nil
	}
	return c.CodecV2.Marshal(v)
}

// malformed stands in a message that could not be read: the highest field number there is, empty.
var malformed = protowire.AppendBytes(protowire.AppendTag(nil, protowire.MaxValidNumber, protowire.BytesType), nil)

func isMalformed(message any) bool {
	m, ok := message.(proto.Message)
	return ok && bytes.Equal(m.ProtoReflect().GetUnknown(), malformed)
}
