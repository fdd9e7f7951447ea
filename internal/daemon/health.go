package daemon

import (
	"context"
	"time"

	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"

	"darktower.example/global-controller/pkg/health"
	"darktower.example/global-controller/service"
	grpctransport "darktower.example/global-controller/transport/grpc"
)

// newServiceability lists what keeps this replica from accepting heartbeats, for /ready and for the checker alike.
func (s *Server) newServiceability() *health.Serviceability {
	return health.NewServiceability(
		health.Condition{Name: health.ConditionStore, State: s.storeState},
		health.Condition{Name: health.ConditionHeartbeats, State: s.heartbeats.State},
		health.Condition{Name: "keys", State: s.judging.keysState},
		health.Condition{Name: "clock", State: s.judging.clockState},
		health.Condition{Name: "schema", State: s.schemaState},
		health.Condition{Name: "server", State: s.serverState},
	)
}

func (s *Server) newChecker() *health.Checker {
	return health.NewChecker(health.Config{
		Store: s.newClockedStore(),
		Replica: service.Replica{
			ID:                    s.cfg.ID,
			Version:               Version,
			StalenessThreshold:    s.cfg.StalenessThreshold,
			FastInterval:          s.cfg.FastInterval,
			ComprehensiveInterval: s.cfg.ComprehensiveInterval,
			MaxConnections:        s.store.PoolStats().MaxOpenConnections,
		},
		Policy: service.SweepPolicy{
			Threshold:    s.cfg.StalenessThreshold,
			FastInterval: s.cfg.FastInterval,
			Interval:     checkInterval,
			Tolerance:    health.Tolerance,
			Actor:        s.cfg.ID,
			Refusals:     s.judging.refusals.DescribeAll,
		},
		CanVouch:    s.serviceable.CanVouch,
		Heartbeats: s.heartbeats,
		Observe:    s.metrics.ObserveSweep,
		Logger:     s.logger,
	})
}

func (s *Server) isMigrated() bool {
	select {
	case <-s.migrated:
		return true
	default:
		return false
	}
}

// storeState is what the beats show: that heartbeats can be committed.
func (s *Server) storeState() string {
	if !s.isMigrated() {
		return "starting"
	}
	return s.checker.StoreState()
}

func (s *Server) schemaState() string {
	if s.incompatible.Load() {
		return stateIncompatible
	}
	return health.StateOK
}

func (s *Server) serverState() string {
	if s.draining.Err() != nil {
		return "draining"
	}
	return health.StateOK
}

// check beats and sweeps once the schema is there.
func (s *Server) check(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.migrated:
		return s.checker.Run(ctx)
	}
}

// readinessInterval is how often the metrics and gRPC's health service are brought up to date.
const readinessInterval = 100 * time.Millisecond

// showReadiness publishes until ctx ends.
func (s *Server) showReadiness(ctx context.Context) error {
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

// publishReadiness brings the metrics and gRPC's health service up to date, and returns what /ready answers.
func (s *Server) publishReadiness() map[string]string {
	state, status := s.serviceable.State(), healthgrpc.HealthCheckResponse_SERVING
	for _, condition := range state {
		if condition != health.StateOK {
			status = healthgrpc.HealthCheckResponse_NOT_SERVING
		}
	}
	s.metrics.ObserveReadiness(state, health.StateOK)
	for _, name := range append(grpctransport.ServiceNames(), "") {
		s.grpcHealth.SetServingStatus(name, status)
	}
	return state
}
