package endpoints

import (
	"context"
	"reflect"
	"testing"

	"github.com/go-kit/kit/endpoint"

	"darktower.example/global-controller/service"
)

// withoutControllerID are the requests whose controller the middleware does not use, with the reason.
var withoutControllerID = map[reflect.Type]string{
	reflect.TypeFor[service.ControllerQuery](): "a read is not limited to the caller's own controller",
	reflect.TypeFor[service.TransitionQuery](): "a read is not limited to the caller's own controller",

	reflect.TypeFor[service.AssignmentListQuery](): "a read is not limited to the caller's own controller",
}

// TestRequest_ControllerIDOfEveryOperation checks that ControllerID handles every request with a controller. A request that it does not
// handle escapes the check that a controller acts only for itself (GC_SUBJECT_IS_CONTROLLER). Its controller is also missing in the log
// and the spans.
func TestRequest_ControllerIDOfEveryOperation(t *testing.T) {
	t.Parallel()

	var passed any
	keep := func(Operation) endpoint.Middleware {
		return func(endpoint.Endpoint) endpoint.Endpoint {
			return func(_ context.Context, request any) (any, error) {
				passed = request
				return nil, service.ErrForbidden
			}
		}
	}
	operations := reflect.ValueOf(New(fakeService{}, keep))

	used := make(map[reflect.Type]bool)
	for i := range operations.NumField() {
		name := operations.Type().Field(i).Name
		call := operations.Field(i).MethodByName("Call")
		request := reflect.New(call.Type().In(1)).Elem()
		field := request.FieldByName("ControllerID")
		if !field.IsValid() {
			continue
		}

		field.SetString("mc-1")
		call.Call([]reflect.Value{reflect.ValueOf(t.Context()), request, reflect.Zero(reflect.TypeFor[error]())})

		reason := withoutControllerID[request.Type()]
		used[request.Type()] = true
		switch got := loggedID(passed); {
		case reason == "" && got != "mc-1":
			t.Errorf("operation %s: ControllerID of a %v is %q, want mc-1: add the type to Request.ControllerID", name, request.Type(), got)
		case reason != "" && got != "":
			t.Errorf("operation %s: ControllerID of a %v is %q: remove the type from withoutControllerID", name, request.Type(), got)
		}
	}

	for unused := range withoutControllerID {
		if !used[unused] {
			t.Errorf("no operation has the request %v: remove it from withoutControllerID", unused)
		}
	}
}
