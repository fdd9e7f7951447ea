package grpctransport

import (
	"context"
	"testing"

	"github.com/go-kit/kit/endpoint"
	"github.com/go-kit/log"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"darktower.example/global-controller/endpoints"
	legacypb "darktower.example/global-controller/proto/darktower"
	pb "darktower.example/global-controller/proto/darktower/v1"
	fleetpb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
)

// serviceDescriptions are the services of the protocol.
var serviceDescriptions = []grpc.ServiceDesc{
	pb.GlobalControllerService_ServiceDesc,
	legacypb.GlobalControllerService_ServiceDesc,
	fleetpb.FleetService_ServiceDesc,
	fleetpb.HeartbeatService_ServiceDesc,
	fleetpb.PlacementService_ServiceDesc,
}

// TestServer_EveryCallHasHandler: the generated code adds a handler that returns Unimplemented for each call that the server lacks.
func TestServer_EveryCallHasHandler(t *testing.T) {
	t.Parallel()
	refuse := func(endpoints.Operation) endpoint.Middleware {
		return func(endpoint.Endpoint) endpoint.Endpoint {
			return func(context.Context, any) (any, error) { return nil, service.ErrForbidden }
		}
	}
	conn := dialServer(t, NewServer(endpoints.New(&fakeService{}, refuse), Config{Logger: log.NewNopLogger()}))

	check := func(method string, err error) {
		t.Helper()
		switch status.Code(err) {
		case codes.PermissionDenied:
		case codes.Unimplemented:
			t.Errorf("%s has no handler in transport/grpc: add a method to its server", method)
		default:
			t.Errorf("%s = %v, want PermissionDenied from its endpoint", method, err)
		}
	}

	for _, description := range serviceDescriptions {
		for _, method := range description.Methods {
			name := "/" + description.ServiceName + "/" + method.MethodName
			check(name, conn.Invoke(t.Context(), name, &emptypb.Empty{}, &emptypb.Empty{}))
		}
		for i := range description.Streams {
			name := "/" + description.ServiceName + "/" + description.Streams[i].StreamName
			check(name, openStream(t.Context(), conn, &description.Streams[i], name))
		}
	}
}

// openStream opens a stream, sends an empty message, and returns the error that ends the stream.
func openStream(ctx context.Context, conn *grpc.ClientConn, description *grpc.StreamDesc, name string) error {
	stream, err := conn.NewStream(ctx, description, name)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(&emptypb.Empty{}); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	return stream.RecvMsg(&emptypb.Empty{})
}
