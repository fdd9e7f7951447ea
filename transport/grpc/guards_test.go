package grpctransport

import (
	"slices"
	"testing"

	"darktower.example/global-controller/endpoints"
	legacypb "darktower.example/global-controller/proto/darktower"
)

// TestProtocol_CallsMatchOperations checks that every call of the protocol and its operation have the same name.
func TestProtocol_CallsMatchOperations(t *testing.T) {
	t.Parallel()
	var operations, calls []string
	for _, op := range endpoints.Operations() {
		operations = append(operations, op.Name)
	}

	for _, service := range serviceDescriptions {
		if service.ServiceName == legacypb.GlobalControllerService_ServiceDesc.ServiceName {
			continue
		}
		for _, method := range service.Methods {
			calls = append(calls, method.MethodName)
		}
		for _, stream := range service.Streams {
			calls = append(calls, stream.StreamName)
		}
	}

	for _, name := range operations {
		if !slices.Contains(calls, name) {
			t.Errorf("operation %s has no call in proto/globalcontroller/v1: add it and run make generate, or remove it from Operations in "+
				"endpoints/endpoints.go", name)
		}
	}
	for _, name := range calls {
		if !slices.Contains(operations, name) {
			t.Errorf("call %s of proto/ is not an operation: add it to Operations in endpoints/endpoints.go", name)
		}
	}

	for _, method := range legacypb.GlobalControllerService_ServiceDesc.Methods {
		if !slices.Contains(calls, method.MethodName) {
			t.Errorf("proto/dark_tower/internal has the call %s, which proto/dark_tower/internal/v1 lacks", method.MethodName)
		}
	}
}
