package grpctransport

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-kit/kit/endpoint"
	"github.com/go-kit/log"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/tap"

	"darktower.example/global-controller/endpoints"
	pb "darktower.example/global-controller/proto/darktower/v1"
	"darktower.example/global-controller/service"
)

// rawCodec sends bytes as they are.
type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, errors.New("not bytes")
	}
	return b, nil
}
func (rawCodec) Unmarshal([]byte, any) error { return nil }
func (rawCodec) Name() string                { return "proto" }

func TestServer_MalformedMessageReachesMiddlewareFirst(t *testing.T) {
	t.Parallel()
	var refuse atomic.Bool
	authenticate := func(endpoints.Operation) endpoint.Middleware {
		return func(next endpoint.Endpoint) endpoint.Endpoint {
			return func(ctx context.Context, request any) (any, error) {
				if refuse.Load() {
					return nil, service.ErrUnauthenticated
				}
				return next(ctx, request)
			}
		}
	}

	server := NewServer(endpoints.New(&fakeService{}, authenticate), Config{Logger: log.NewNopLogger()})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}

	go func() { _ = server.Serve(listener) }()
	defer server.Stop()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	defer func() { _ = conn.Close() }()

	for name, message := range map[string][]byte{"a length past the end": {0x0a, 0xff}, "invalid UTF-8": {0x0a, 1, 0xff}} {
		send := func() error {
			var response []byte
			return conn.Invoke(t.Context(), pb.GlobalControllerService_FastHeartbeat_FullMethodName, message, &response, grpc.ForceCodec(rawCodec{}))
		}
		t.Run(name, func(t *testing.T) {
			refuse.Store(true)
			wantStatus(t, send(), codes.Unauthenticated, "Invalid token")
			refuse.Store(false)
			wantStatus(t, send(), codes.InvalidArgument, "request is not valid protobuf")
		})
	}
}

func TestLimitCallTime_UnaryCallsOnly(t *testing.T) {
	t.Parallel()
	server := NewServer(endpoints.New(&fakeService{}, func(endpoints.Operation) endpoint.Middleware {
		return func(e endpoint.Endpoint) endpoint.Endpoint { return e }
	}), Config{Logger: log.NewNopLogger()})
	defer server.Stop()

	const limit = 8 * time.Second
	var unknown []string
	handle := limitCallTime(limit, callKinds(server), func(address, method string) { unknown = append(unknown, address+" "+method) })
	tests := map[string]bool{
		"/dark_tower.internal.v1.GlobalControllerService/FastHeartbeat": true,
		"/dark_tower.internal.GlobalControllerService/RegisterMC":       true,
		"/globalcontroller.v1.FleetService/ListControllers":             true,
		"/globalcontroller.v1.HeartbeatService/StreamHeartbeats":        false,
		"/no.such.Service/Method":                                       false,
	}

	for method, want := range tests {
		ctx, err := handle(t.Context(), &tap.Info{FullMethodName: method})
		if err != nil {
			t.Fatalf("tap: %v", err)
		}
		at, limited := ctx.Deadline()
		if limited != want || limited && time.Until(at) > limit {
			t.Errorf("%s: deadline in %v, %v, want %v", method, time.Until(at), limited, want)
		}
	}

	if want := []string{" /no.such.Service/Method"}; !slices.Equal(unknown, want) {
		t.Errorf("unknown calls = %q, want %q", unknown, want)
	}
}
