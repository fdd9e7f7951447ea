package tracing

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"

	otelcodes "go.opentelemetry.io/otel/codes"

	"darktower.example/global-controller/service"
)

// TestWrapStore_EveryOperationHasASpan fails if tracedStore does not implement a method of the interface itself.
func TestWrapStore_EveryOperationHasASpan(t *testing.T) {
	t.Parallel()
	traces, recorder := newRecordedTracing(t)
	ctx, call := traces.tracer.Start(t.Context(), "call")
	defer call.End()
	store := reflect.ValueOf(traces.WrapStore(struct{ service.Store }{}))

	methods := reflect.TypeFor[service.Store]()
	for i := range methods.NumMethod() {
		if methods.Method(i).Name == "RecordConflict" {
			continue // It only counts conflicts.
		}
		method := store.MethodByName(methods.Method(i).Name)
		arguments := []reflect.Value{reflect.ValueOf(ctx)}
		for n := 1; n < method.Type().NumIn(); n++ {
			arguments = append(arguments, reflect.Zero(method.Type().In(n)))
		}

		before := len(recorder.Ended())
		func() {
			defer func() { _ = recover() }() // The embedded store is nil.
			method.Call(arguments)
		}()
		if got := len(recorder.Ended()) - before; got != 1 {
			t.Errorf("%s made %d spans, want 1: wrap the method in pkg/tracing/store.go", methods.Method(i).Name, got)
		}
	}
}

type failingStore struct {
	service.Store
	err error
}

func (s failingStore) IsRegistered(context.Context, string) (bool, error) { return false, s.err }

func TestWrapStore_DomainErrorsAreNoFailures(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]otelcodes.Code{
		nil: otelcodes.Unset,
		fmt.Errorf("x: %w", service.ErrNotRegistered): otelcodes.Unset,
		service.ErrConflict:                           otelcodes.Unset,
		&service.UnsafeError{}:                        otelcodes.Unset,
		service.Invalid("x"):                          otelcodes.Unset,
		service.ErrSuperseded:                         otelcodes.Unset,
		service.ErrGone:                               otelcodes.Unset,
		service.ErrForbidden:                          otelcodes.Unset,
		fmt.Errorf("x: %w", service.ErrUnavailable):   otelcodes.Error,
	} {
		traces, recorder := newRecordedTracing(t)
		ctx, _ := traces.tracer.Start(t.Context(), "call")
		if _, got := traces.WrapStore(failingStore{err: err}).IsRegistered(ctx, "mc"); !errors.Is(got, err) {
			t.Errorf("IsRegistered() = %v, want %v", got, err)
		}

		if got := recorder.Ended()[0]; got.Status().Code != want || got.Status().Description != "" || got.Name() != "store known" {
			t.Errorf("%v: span %s with status %+v, want store known with %v and no text", err, got.Name(), got.Status(), want)
		}
	}
}
