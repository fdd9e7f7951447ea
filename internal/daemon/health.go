package daemon

import (
	"context"
	"time"

	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"

	"darktower.example/global-controller/pkg/health"
	"darktower.example/global-controller/service"
	grpctransport "darktower.example/global-controller/transport/grpc"
)

// readinessInterval is the time between two updates of the metrics and of gRPC's health service.
const readinessInterval = 100 * time.Millisecond

// stateStarting is the state in /ready of a readiness condition that is unknown until the schema is up to date.
const stateStarting = "starting"

// stateStopping is the state in /ready of the readiness condition server from when the shutdown begins.
const stateStopping = "draining"

// newServiceability lists the readiness conditions, under which this replica accepts heartbeats, for /ready and for the checker.
func (s *Server) newServiceability() *health.Serviceability {
	return health.NewServiceability(
		health.Condition{Name: health.ConditionStore, State: s.storeState},
		health.Condition{Name: health.ConditionHeartbeats, State: s.heartbeatsState},
		health.Condition{Name: "keys", State: s.auth.keysState},
		health.Condition{Name: "clock", State: s.auth.clockState},
		health.Condition{Name: "schema", State: s.schemaState},
		health.Condition{Name: "server", State: s.serverState},
	)
}

// storeState is [health.StateOK] while beats show that heartbeats can be committed.
func (s *Server) storeState() string {
	if !s.isMigrated() {
		return stateStarting
	}
	return s.checker.StoreState()
}

// heartbeatsState is [health.StateOK] while most controllers' heartbeats are committed.
func (s *Server) heartbeatsState() string {
	if !s.isMigrated() {
		return stateStarting
	}
	return s.heartbeats.State()
}

// schemaState is [health.StateOK] while this binary may use the schema of the store.
func (s *Server) schemaState() string {
	switch {
	case s.isIncompatible.Load():
		return stateIncompatible
	case !s.isMigrated():
		return stateStarting
	}
	return health.StateOK
}

// serverState is [health.StateOK] until the shutdown begins.
func (s *Server) serverState() string {
	if s.shutdownCtx.Err() != nil {
		return stateStopping
	}
	return health.StateOK
}

func (s *Server) newChecker() *health.Checker {
	replica := service.Replica{
		ID:                    s.cfg.ID,
		Version:               Version,
		StalenessThreshold:    s.cfg.StalenessThreshold,
		FastInterval:          s.cfg.FastInterval,
		ComprehensiveInterval: s.cfg.ComprehensiveInterval,
	}
	policy := service.SweepPolicy{
		Threshold:    s.cfg.StalenessThreshold,
		FastInterval: s.cfg.FastInterval,
		Interval:     sweepInterval,
		Tolerance:    health.Tolerance,
		Actor:        s.cfg.ID,
		Refusals:     s.events.refusals.DescribeAll,
	}

	return health.NewChecker(health.Config{
		Store:              s.newClockedStore(),
		Replica:            replica,
		Policy:             policy,
		CanVouch:           s.serviceable.CanVouch,
		Heartbeats:         s.heartbeats,
		ObserveSweep:       s.metrics.ObserveSweep,
		ObserveBeatFailure: s.metrics.ObserveBeatFailure,
		Logger:             s.logger,
	})
}

// checkHealth writes beats and sweeps, from when the schema is up to date until ctx ends.
func (s *Server) checkHealth(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.migrated:
		return s.checker.Run(ctx)
	}
}

// publishReadinessPeriodically publishes the readiness until ctx ends.
func (s *Server) publishReadinessPeriodically(ctx context.Context) error {
	ticker := time.NewTicker(readinessInterval)
	defer ticker.Stop()
	for {
		s.publishReadiness()
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// publishReadiness updates the metrics and gRPC's health service, and returns the states for /ready.
func (s *Server) publishReadiness() map[string]string {
	states, status := s.serviceable.States(), healthgrpc.HealthCheckResponse_SERVING
	for _, state := range states {
		if state != health.StateOK {
			status = healthgrpc.HealthCheckResponse_NOT_SERVING
		}
	}

	s.metrics.ObserveReadiness(states, health.StateOK)
	for _, name := range append(grpctransport.ServiceNames(), "") {
		s.grpcHealth.SetServingStatus(name, status)
	}
	return states
}
