package grpctransport

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"

	"darktower.example/global-controller/endpoints"
	legacypb "darktower.example/global-controller/proto/darktower"
	pb "darktower.example/global-controller/proto/darktower/v1"
	fleetpb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// TestProtocol_CallsMatchOperations checks that every call of the protocol and its operation have the same name.
func TestProtocol_CallsMatchOperations(t *testing.T) {
	t.Parallel()
	var operations, calls []string
	for _, op := range endpoints.Operations() {
		operations = append(operations, op.Name)
	}

	services := []grpc.ServiceDesc{
		pb.GlobalControllerService_ServiceDesc,
		fleetpb.FleetService_ServiceDesc,
		fleetpb.HeartbeatService_ServiceDesc,
	}
	for _, service := range services {
		for _, method := range service.Methods {
			calls = append(calls, method.MethodName)
		}
		for _, stream := range service.Streams {
			calls = append(calls, stream.StreamName)
		}
	}

	slices.Sort(operations)
	slices.Sort(calls)
	if diff := cmp.Diff(operations, calls); diff != "" {
		t.Errorf("operations and calls differ, -operations +calls:\n%s", diff)
	}

	for _, method := range legacypb.GlobalControllerService_ServiceDesc.Methods {
		if !slices.Contains(calls, method.MethodName) {
			t.Errorf("the older service has %s, which the new one lacks", method.MethodName)
		}
	}
}
