package tracing

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"darktower.example/global-controller/service"
)

// WrapStore returns a store that records a span for each operation within a recorded call. Operations outside of calls get no
// span. If tracing is off, it returns next itself.
func (t *Tracing) WrapStore(next service.Store) service.Store {
	if t == nil {
		return next
	}
	return tracedStore{Store: next, tracer: t.tracer}
}

// tracedStore records spans. The names of the operations are those of the store's metrics. The span of a heartbeat is its wait
// for the commit, which it shares with others.
type tracedStore struct {
	service.Store
	tracer trace.Tracer
}

func traceOperation[T any](ctx context.Context, s tracedStore, name string, do func(context.Context) (T, error)) (T, error) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return do(ctx)
	}

	ctx, span := s.tracer.Start(ctx, "store "+name, trace.WithAttributes(attribute.String("db.operation.name", name)))
	defer span.End()
	value, err := do(ctx)
	if err != nil && !service.IsDomainError(err) {
		span.SetStatus(otelcodes.Error, "")
	}
	return value, err
}

// Register implements [service.Store].
func (s tracedStore) Register(ctx context.Context, r service.Registration, actor string) (service.RegisterResult, error) {
	return traceOperation(ctx, s, "register", func(ctx context.Context) (service.RegisterResult, error) {
		return s.Store.Register(ctx, r, actor)
	})
}

// Heartbeat implements [service.Store].
func (s tracedStore) Heartbeat(ctx context.Context, h service.HeartbeatWrite) (service.HeartbeatResult, error) {
	return traceOperation(ctx, s, "heartbeat", func(ctx context.Context) (service.HeartbeatResult, error) {
		return s.Store.Heartbeat(ctx, h)
	})
}

// Drain implements [service.Store].
func (s tracedStore) Drain(ctx context.Context, order service.DrainOrder, actor string) (service.OperatorResult, error) {
	return traceOperation(ctx, s, "drain", func(ctx context.Context) (service.OperatorResult, error) {
		return s.Store.Drain(ctx, order, actor)
	})
}

// Undrain implements [service.Store].
func (s tracedStore) Undrain(ctx context.Context, order service.UndrainOrder, actor string) (service.OperatorResult, error) {
	return traceOperation(ctx, s, "undrain", func(ctx context.Context) (service.OperatorResult, error) {
		return s.Store.Undrain(ctx, order, actor)
	})
}

// Deregister implements [service.Store].
func (s tracedStore) Deregister(ctx context.Context, d service.Deregistration, actor string, byItself bool) (*service.Transition, error) {
	return traceOperation(ctx, s, "deregister", func(ctx context.Context) (*service.Transition, error) {
		return s.Store.Deregister(ctx, d, actor, byItself)
	})
}

// Regions implements [service.Store].
func (s tracedStore) Regions(ctx context.Context) ([]service.Region, error) {
	return traceOperation(ctx, s, "regions", s.Store.Regions)
}

// Replicas implements [service.Store].
func (s tracedStore) Replicas(ctx context.Context) (service.ReplicaList, error) {
	return traceOperation(ctx, s, "replicas", s.Store.Replicas)
}

// Transitions implements [service.Store].
func (s tracedStore) Transitions(ctx context.Context, filter service.TransitionFilter) (service.TransitionList, error) {
	return traceOperation(ctx, s, "transitions", func(ctx context.Context) (service.TransitionList, error) {
		return s.Store.Transitions(ctx, filter)
	})
}

// IsRegistered implements [service.Store].
func (s tracedStore) IsRegistered(ctx context.Context, controllerID string) (bool, error) {
	return traceOperation(ctx, s, "known", func(ctx context.Context) (bool, error) {
		return s.Store.IsRegistered(ctx, controllerID)
	})
}

// CountOwned implements [service.Store].
func (s tracedStore) CountOwned(ctx context.Context, subject string) (int, error) {
	return traceOperation(ctx, s, "owned", func(ctx context.Context) (int, error) {
		return s.Store.CountOwned(ctx, subject)
	})
}

// Controller implements [service.Store].
func (s tracedStore) Controller(ctx context.Context, controllerID string) (service.Controller, error) {
	return traceOperation(ctx, s, "controller", func(ctx context.Context) (service.Controller, error) {
		return s.Store.Controller(ctx, controllerID)
	})
}

// Controllers implements [service.Store].
func (s tracedStore) Controllers(ctx context.Context, filter service.ControllerFilter) ([]service.Controller, error) {
	return traceOperation(ctx, s, "controllers", func(ctx context.Context) ([]service.Controller, error) {
		return s.Store.Controllers(ctx, filter)
	})
}
