package daemon

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/go-kit/log"
	"google.golang.org/grpc"
	grpchealth "google.golang.org/grpc/health"

	"darktower.example/global-controller/endpoints"
	"darktower.example/global-controller/pkg/health"
	"darktower.example/global-controller/pkg/metrics"
	"darktower.example/global-controller/pkg/store"
	"darktower.example/global-controller/pkg/summary"
	"darktower.example/global-controller/pkg/tracing"
	"darktower.example/global-controller/pkg/watch"
	"darktower.example/global-controller/service"
	"darktower.example/global-controller/transport"
	grpctransport "darktower.example/global-controller/transport/grpc"
	httptransport "darktower.example/global-controller/transport/http"
)

const (
	// operationTimeout limits each operation. It is longer than the store's own timeout, so that a slow store shows as unavailable.
	// It is shorter than the 10 s after which deployed controllers give up.
	operationTimeout = 8 * time.Second
	// sweepInterval is the interval of the health checker's sweeps.
	sweepInterval = 5 * time.Second
)

// New opens the store, binds the listeners and builds the server. The caller calls [Server.Run] or [Server.Close].
func New(cfg Config, logger log.Logger) (*Server, error) {
	s := &Server{
		cfg:        cfg,
		logger:     logger,
		metrics:    metrics.New(Version, cfg.StalenessThreshold, sweepInterval),
		heartbeats: health.NewHeartbeatMonitor(cfg.FastInterval, nil),
		grpcHealth: grpchealth.NewServer(),
		migrated:   make(chan struct{}),
	}
	s.shutdownCtx, s.beginShutdown = context.WithCancel(context.Background())

	if err := s.build(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// build builds the parts of the server, each from those before it.
func (s *Server) build() error {
	if err := s.openTracing(); err != nil {
		return err
	}
	if err := s.newAuth(); err != nil {
		return err
	}
	if err := s.newEvents(); err != nil {
		return err
	}

	security, err := loadTLS(s.cfg, s.events)
	if err != nil {
		return err
	}
	if err := s.openStore(); err != nil {
		return err
	}
	if err := s.openListeners(security); err != nil {
		return err
	}

	s.watches = watch.New(watch.Config{Source: s.store, Observer: s.metrics.RegisterWatches(), Logger: s.logger})
	s.serviceable = s.newServiceability()
	s.checker = s.newChecker()

	regions := summary.New(s.store)
	operations, err := s.newOperations(s.traces.WrapStore(s.store), regions)
	if err != nil {
		return err
	}
	s.grpcServer = s.newGRPCServer(operations, security)
	s.addCleanup("gRPC server", func() error { s.grpcServer.Stop(); return nil }) // It has workers even before it serves.
	s.httpServer = s.newHTTPServer(operations)
	s.registerMetrics(regions)
	return nil
}

// newAuth makes what verifies tokens. Its keys are fetched by [Server.Run].
func (s *Server) newAuth() (err error) {
	s.auth, err = newAuthState(s.cfg, s.logger, s.metrics, s.traces.ClientTransport("fetch keys"))
	return err
}

func (s *Server) newEvents() (err error) {
	s.events, err = newEventLog(s.logger, s.metrics)
	return err
}

func (s *Server) openTracing() (err error) {
	s.traces, err = tracing.New(tracing.Config{
		Endpoint:    s.cfg.TraceEndpoint,
		SampleRatio: s.cfg.TraceSampleRatio,
		Version:     Version,
		Instance:    s.cfg.ID,
		Region:      s.cfg.Region,
		Logger:      s.logger,
	})
	if err != nil {
		return err
	}

	s.addCleanup("tracing", func() error { s.traces.Close(); return nil })
	return nil
}

func (s *Server) openStore() (err error) {
	s.store, err = store.New(store.Config{
		URL:                s.cfg.DatabaseURL,
		MaxConns:           s.cfg.MaxConnections,
		OnQuery:            s.metrics.ObserveQuery,
		OnBatch:            s.metrics.ObserveBatch,
		Unbatched:          !s.cfg.Batching,
		FastInterval:       s.cfg.FastInterval,
		StalenessThreshold: s.cfg.StalenessThreshold,
	})
	if err != nil {
		return fmt.Errorf("open store: %w", err)
	}

	s.addCleanup("store", s.store.Close)
	return nil
}

func (s *Server) openListeners(security tlsSetup) (err error) {
	if s.grpcListener, err = s.listen("gRPC", s.cfg.GRPCBindAddress); err != nil {
		return err
	}
	if s.httpListener, err = s.listen("HTTP", s.cfg.BindAddress); err != nil {
		return err
	}
	s.httpListener = security.wrapHTTP(s.httpListener)

	if s.cfg.PprofAddress != "" {
		s.pprofListener, err = s.listen("profiles", s.cfg.PprofAddress)
	}
	return err
}

func (s *Server) listen(name, address string) (net.Listener, error) {
	var config net.ListenConfig
	listener, err := config.Listen(s.shutdownCtx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for %s: %w", name, err)
	}

	// The server that uses the listener usually closes it first, which is no error.
	s.addCleanup(name+" listener", func() error { _ = listener.Close(); return nil })
	return listener, nil
}

// newOperations returns the endpoint of each operation, wrapped in the middleware.
func (s *Server) newOperations(controllers service.Store, regions *summary.Summary) (endpoints.Endpoints, error) {
	middleware, err := s.newMiddleware(controllers)
	if err != nil {
		return endpoints.Endpoints{}, err
	}
	svc := service.New(
		summary.Store{Store: controllers, Summary: regions},
		service.Intervals{Fast: s.cfg.FastInterval, Comprehensive: s.cfg.ComprehensiveInterval},
		observer{heartbeats: s.heartbeats, metrics: s.metrics, events: s.events},
		s.watches,
		service.WithPlacement(s.store, s.newPlacer(controllers)),
	)
	return endpoints.New(svc, middleware), nil
}

// newPlacer returns what assigns meetings. Controllers are not asked yet: an assignment is confirmed at once.
func (s *Server) newPlacer(controllers service.Store) *service.Placer {
	return service.NewPlacer(service.PlacerConfig{
		Store:     s.store,
		Fleet:     service.NewFleetView(service.FleetViewConfig{Controllers: controllers, Assignments: s.store}),
		ReplicaID: s.cfg.ID,
	})
}

// newMiddleware returns the middleware of all operations, outermost first. Observers come first, so that they see refused
// calls; the coarse rate limit comes before the verification of signatures, because it costs less.
func (s *Server) newMiddleware(controllers service.Store) (endpoints.Middleware, error) {
	addresses, err := endpoints.NewLimiter(s.cfg.RateLimitPerMinute, time.Now)
	if err != nil {
		return nil, err
	}
	callers, err := endpoints.NewCallerLimiter(s.cfg.RateLimitPerMinute, s.cfg.ControllersPerSubject, time.Now)
	if err != nil {
		return nil, err
	}

	return endpoints.Chain(
		endpoints.Observe(s.observeCall),
		endpoints.Log(endpoints.LogConfig{
			Logger:  s.logger,
			Verbose: s.cfg.LogLevel == "debug",
			Sampler: s.events.calls,
			Outcome: transport.OutcomeOf,
			TraceID: s.traces.TraceID,
		}),
		endpoints.AnnotateSpan(s.traces.Annotator()),
		endpoints.LimitAddresses(addresses, s.auth.verifier, s.metrics.IncRateLimited),
		endpoints.Authenticate(s.auth.verifier, endpoints.AuthPolicy{
			MCScopes:            s.cfg.MCScopes,
			SubjectIsController: s.cfg.SubjectIsController,
			OnUnverifiable:      s.heartbeats.ObserveUnverifiable,
			OnRefused:           s.events.recordRefusal,
		}),
		endpoints.AfterAuthentication(s.traces.AuthenticationHook()),
		endpoints.RequireReady(s.isMigrated),
		endpoints.LimitCallers(callers, controllers, s.metrics.IncRateLimited),
		endpoints.Deadline(operationTimeout),
		endpoints.FindSharedIDs(s.cfg.ComprehensiveInterval, time.Now, s.newSharedIDReporter()),
	), nil
}

func (s *Server) observeCall(ctx context.Context, transportName, operation string, err error, took time.Duration) {
	s.metrics.ObserveCall(transportName, operation, transport.StatusOf(err).GRPC.String(), took, s.traces.Exemplar(ctx))
}

func (s *Server) newGRPCServer(operations endpoints.Endpoints, security tlsSetup) *grpc.Server {
	return grpctransport.NewServer(operations, grpctransport.Config{
		Logger:            s.logger,
		OnPanic:           func() { s.metrics.IncPanic("grpc") },
		Health:            s.grpcHealth,
		Reflection:        s.cfg.GRPCReflection,
		Shutdown:          s.shutdownCtx,
		CallTimeout:       operationTimeout,
		Authenticator:     s.auth.verifier,
		StreamsPerSubject: s.cfg.ControllersPerSubject,
		OnUnknownCall:     func(address, method string) { s.events.recordUnknownCall("grpc", address, method) },
	}, append(s.traces.ServerOptions(), grpc.Creds(security.grpcCredentials))...)
}

func (s *Server) newHTTPServer(operations endpoints.Endpoints) *http.Server {
	handler := httptransport.NewHandler(operations, httptransport.Config{
		Logger:        s.logger,
		OnPanic:       func() { s.metrics.IncPanic("http") },
		Metrics:       s.metrics.Handler(),
		Trace:         s.traces.WrapRoute,
		Ready:         func(context.Context) map[string]string { return s.publishReadiness() },
		Shutdown:      s.shutdownCtx,
		Authenticator: s.auth.verifier,
		Controllers:   s.listControllers,
		SDNeedsToken:  s.cfg.SDNeedsToken,
		OnUnknownCall: func(address, what string) { s.events.recordUnknownCall("http", address, what) },
	})

	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          s.events.newHTTPErrorLog(),
	}
}

// registerMetrics adds the metrics that are read from other parts during a scrape.
func (s *Server) registerMetrics(regions service.RegionReader) {
	s.metrics.RegisterFleet(regions, s.cfg.Region)
	s.metrics.RegisterPool(s.store.PoolStats)
	s.metrics.InitOperations(endpoints.OperationNames())
}

// listControllers returns a part of the fleet for Prometheus's service discovery.
func (s *Server) listControllers(ctx context.Context, filter service.ControllerFilter) ([]service.Controller, error) {
	if !s.isMigrated() {
		return nil, fmt.Errorf("server is starting: %w", service.ErrUnavailable)
	}
	return s.store.Controllers(ctx, filter)
}
