// Package daemon assembles the Global Controller. It is a package of its own so that the development stack runs the
// very same server as the daemon.
package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/oklog/run"
	"google.golang.org/grpc"
	grpchealth "google.golang.org/grpc/health"

	"darktower.example/global-controller/endpoints"
	"darktower.example/global-controller/pkg/health"
	"darktower.example/global-controller/pkg/metrics"
	"darktower.example/global-controller/pkg/retention"
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
	// callBound is longer than the store's own bound, so that a slow store shows as unavailable, and shorter than the
	// 10 s after which controllers in the field give up.
	callBound = 8 * time.Second
	// checkInterval is how often the health checker sweeps.
	checkInterval = 5 * time.Second
	// lastCall is longer than any call may take, so what is left then is a peer that does not read its answers.
	lastCall = 15 * time.Second
	// conflictInterval is how far apart two writes of conflicts are.
	conflictInterval = time.Second
	// httpShare is how much of the drain is left for calls over HTTP when those over gRPC take all of it.
	httpShare = 2 * time.Second
)

// Version is set when a release is built.
var Version = "dev"

// Server is a Global Controller whose listeners are bound. [Server.Run] serves.
type Server struct {
	cfg          Config
	logger       log.Logger
	store        *store.Store
	judging      *authState
	metrics      *metrics.Metrics
	watches      *watch.Hub
	traces       *tracing.Tracing // nil unless they are switched on
	heartbeats   *health.Heartbeats
	serviceable  *health.Serviceability
	checker      *health.Checker
	grpcHealth   *grpchealth.Server
	grpcServer   *grpc.Server
	httpServer   *http.Server
	grpcListener net.Listener
	httpListener net.Listener
	pprof        net.Listener    // nil unless it is switched on
	migrated     chan struct{}   // Closed once the schema is there.
	incompatible atomic.Bool     // The schema is not for this binary.
	draining     context.Context //nolint:containedctx // The server's life, not a call's.
	drain        context.CancelFunc
}

// observer tells the metrics and the checker what the service did.
type observer struct {
	*health.Heartbeats
	*metrics.Metrics
	judging *authState
}

// ObserveTransition implements [service.Observer].
func (o observer) ObserveTransition(t service.Transition) {
	o.Metrics.ObserveTransition(t)
	o.judging.ObserveTransition(t)
}

// New opens the store, binds the listeners and puts the parts together. The caller runs or closes the server.
func New(cfg Config, logger log.Logger) (s *Server, err error) {
	var listen net.ListenConfig
	s = &Server{
		cfg: cfg, logger: logger, metrics: metrics.New(Version, cfg.StalenessThreshold, checkInterval), grpcHealth: grpchealth.NewServer(),
		heartbeats: health.NewHeartbeats(cfg.FastInterval, nil), migrated: make(chan struct{}),
	}
	s.draining, s.drain = context.WithCancel(context.Background())
	made := s // What is returned beside an error is nil.
	defer func() {
		if err != nil {
			made.Close()
		}
	}()
	if s.judging, err = newAuthState(cfg, logger, s.metrics); err != nil {
		return nil, err
	}
	transportOptions, tlsConfig, err := loadTLS(cfg, s.judging)
	if err != nil {
		return nil, err
	}
	if s.store, err = store.New(store.Config{
		URL: cfg.DatabaseURL, MaxConns: cfg.MaxConnections, OnQuery: s.metrics.ObserveQuery, OnBatch: s.metrics.ObserveBatch, Unbatched: !cfg.Batching,
		FastInterval: cfg.FastInterval, StalenessThreshold: cfg.StalenessThreshold,
	}); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if s.traces, err = tracing.New(tracing.Config{
		Endpoint: cfg.TraceEndpoint, SampleRatio: cfg.TraceSampleRatio, Version: Version, Instance: cfg.ID, Region: cfg.Region, Logger: logger,
	}); err != nil {
		return nil, err
	}
	if s.grpcListener, err = listen.Listen(s.draining, "tcp", cfg.GRPCBindAddress); err != nil {
		return nil, fmt.Errorf("listen for gRPC: %w", err)
	}
	if s.httpListener, err = listen.Listen(s.draining, "tcp", cfg.BindAddress); err != nil {
		return nil, fmt.Errorf("listen for HTTP: %w", err)
	}
	if cfg.PprofAddress != "" {
		if s.pprof, err = listen.Listen(s.draining, "tcp", cfg.PprofAddress); err != nil {
			return nil, fmt.Errorf("listen for profiles: %w", err)
		}
	}
	if tlsConfig != nil {
		s.httpListener = tls.NewListener(s.httpListener, tlsConfig)
	} else {
		s.httpListener = s.judging.plainListener(s.httpListener)
	}
	s.judging.keys.FetchThrough(s.traces.Outgoing("fetch keys"))
	verifier := s.judging.verifier
	addresses, err := endpoints.NewLimiter(cfg.RateLimitPerMinute, time.Now)
	if err != nil {
		return nil, err
	}
	callers, err := endpoints.NewCallerLimiter(cfg.RateLimitPerMinute, cfg.ControllersPerSubject, time.Now)
	if err != nil {
		return nil, err
	}
	s.watches = watch.New(watch.Config{Source: s.store, Observer: s.metrics.RegisterWatches(), Logger: logger})
	var (
		fleet = s.traces.Store(s.store)
		sums  = summary.New(s.store)
		// Observers come first, so that they see refusals; cheap shedding comes before signatures.
		middleware = endpoints.Chain(
			endpoints.Observe(func(ctx context.Context, transportName, operation string, err error, took time.Duration) {
				s.metrics.ObserveCall(transportName, operation, transport.StatusOf(err).GRPC.String(), took, s.traces.Exemplar(ctx))
			}),
			endpoints.Log(endpoints.LogConfig{
				Logger: logger, Verbose: cfg.LogLevel == "debug", Sampler: s.judging.calls,
				Code: func(err error) string { return transport.StatusOf(err).Name }, TraceID: s.traces.TraceID,
			}),
			endpoints.AnnotateSpan(s.traces.Annotator()),
			endpoints.LimitAddresses(addresses, verifier, s.metrics.IncRateLimited),
			endpoints.Authenticate(verifier, endpoints.AuthPolicy{
				MCScopes: cfg.MCScopes, SubjectIsController: cfg.SubjectIsController,
				OnUnverifiable: s.heartbeats.ObserveUnjudged, OnRefused: s.judging.refused,
			}),
			endpoints.AfterAuthentication(s.traces.Authenticated()),
			endpoints.RequireReady(s.isMigrated),
			endpoints.LimitCallers(callers, fleet, s.metrics.IncRateLimited),
			endpoints.Deadline(callBound),
			endpoints.FindSharedIDs(cfg.ComprehensiveInterval, time.Now, s.reportShared()),
		)
		svc = service.New(
			summary.Store{Store: fleet, Summary: sums},
			service.Intervals{Fast: cfg.FastInterval, Comprehensive: cfg.ComprehensiveInterval},
			observer{s.heartbeats, s.metrics, s.judging},
			s.watches,
		)
		operation = endpoints.New(svc, middleware)
	)
	s.serviceable = s.newServiceability()
	s.checker = s.newChecker()
	s.metrics.RegisterFleet(sums, cfg.Region)
	s.metrics.RegisterPool(s.store.PoolStats)
	s.metrics.RegisterKeyCount(s.judging.keys.Count)
	s.metrics.InitOperations(endpoints.OperationNames())
	s.grpcServer = grpctransport.NewServer(operation, grpctransport.Config{
		Logger: logger, OnPanic: func() { s.metrics.IncPanic("grpc") }, Health: s.grpcHealth, Reflection: cfg.GRPCReflection, Shutdown: s.draining,
		CallTimeout: callBound, Authenticator: verifier, StreamsPerSubject: cfg.ControllersPerSubject,
		OnUnknownCall: func(address, method string) { s.judging.unknown("grpc", address, method) },
	}, append(transportOptions, s.traces.ServerOptions()...)...)
	s.httpServer = &http.Server{
		Handler: httptransport.NewHandler(operation, httptransport.Config{
			Logger: logger, OnPanic: func() { s.metrics.IncPanic("http") }, Metrics: s.metrics.Handler(), Trace: s.traces.Route,
			Ready:    func(context.Context) map[string]string { return s.publishReadiness() },
			Shutdown: s.draining, Authenticator: verifier, Controllers: s.controllers, SDNeedsToken: cfg.SDNeedsToken,
			OnUnknownCall: func(address, what string) { s.judging.unknown("http", address, what) },
		}),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          s.judging.httpErrorLog(),
	}
	return s, nil
}

func loadTLS(cfg Config, j *authState) ([]grpc.ServerOption, *tls.Config, error) {
	if cfg.TLSCertFile == "" {
		return []grpc.ServerOption{grpc.Creds(j.plainCredentials())}, nil, nil
	}
	certificate, err := tls.LoadX509KeyPair(cfg.TLSCertFile, cfg.TLSKeyFile)
	if err != nil {
		return nil, nil, fmt.Errorf("read GC_TLS_CERT_FILE and GC_TLS_KEY_FILE: %w", err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	return []grpc.ServerOption{grpc.Creds(j.tlsCredentials(config))}, config, nil
}

// GRPCAddress is where gRPC listens.
func (s *Server) GRPCAddress() string { return s.grpcListener.Addr().String() }

// HTTPAddress is where HTTP listens.
func (s *Server) HTTPAddress() string { return s.httpListener.Addr().String() }

// Close releases what [New] took. Run does it by itself.
func (s *Server) Close() {
	s.drain()
	if s.grpcListener != nil {
		_ = s.grpcListener.Close()
	}
	if s.httpListener != nil {
		_ = s.httpListener.Close()
	}
	if s.pprof != nil {
		_ = s.pprof.Close()
	}
	if s.store != nil {
		_ = s.store.Close()
	}
	s.traces.Close()
}

// controllers lists a part of the fleet for Prometheus.
func (s *Server) controllers(ctx context.Context, filter service.ControllerFilter) ([]service.Controller, error) {
	if !s.isMigrated() {
		return nil, fmt.Errorf("still starting: %w", service.ErrUnavailable)
	}
	return s.store.Controllers(ctx, filter)
}

// Run serves until ctx ends, then finishes the calls in flight and returns nil. Each actor is what runs and what stops
// it; the stops run one after the other in the order below.
func (s *Server) Run(ctx context.Context) error {
	var group run.Group
	stopped, stop := context.WithCancel(ctx)
	defer stop()
	// The server's own deadline, set when the stop begins.
	var deadline time.Time
	group.Add(func() error {
		<-stopped.Done()
		return nil
	}, func(error) {
		deadline = time.Now().Add(s.cfg.Drain)
		_ = level.Info(s.logger).Log("msg", "stopping", "drain", s.cfg.Drain)
		s.drain()
		s.grpcHealth.Shutdown()
		stop()
	})
	background := func(name string, work func(context.Context) error) {
		ctx, cancel := context.WithCancel(context.Background())
		group.Add(func() error {
			if err := work(ctx); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			<-ctx.Done()
			return nil
		}, func(error) { cancel() })
	}
	background("migrate", s.migrate)
	background("watch schema", s.watchSchema)
	background("check health", s.check)
	background("remove old records", s.retain)
	background("write conflicts", s.writeConflicts)
	background("share connections", s.shareConnections)
	// Watches never end by themselves, so they end as soon as the server is to stop.
	background("watch", func(context.Context) error { return s.watches.Run(s.draining) })
	group.Add(func() error { return s.grpcServer.Serve(s.grpcListener) }, func(error) { s.stopGRPC(deadline) })
	group.Add(func() error {
		if err := s.httpServer.Serve(s.httpListener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve HTTP: %w", err)
		}
		return nil
	}, func(error) { s.stopHTTP(deadline) })
	if s.pprof != nil {
		profiles := &http.Server{Handler: profiles(), ReadHeaderTimeout: 5 * time.Second}
		group.Add(func() error {
			if err := profiles.Serve(s.pprof); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve profiles: %w", err)
			}
			return nil
		}, func(error) { _ = profiles.Close() })
		_ = level.Info(s.logger).Log("msg", "profiles", "address", s.pprof.Addr())
	}
	background("show readiness", s.showReadiness)
	background("refresh keys", s.judging.keys.Run)
	background("sum up the log", s.judging.run)
	_ = level.Info(s.logger).Log("msg", "serving", "grpc", s.GRPCAddress(), "http", s.HTTPAddress(), "id", s.cfg.ID, "region", s.cfg.Region,
		"database", redact(s.cfg.DatabaseURL), "keys", redact(s.cfg.JWKSURL), "traces", redact(s.cfg.TraceEndpoint), "version", Version)
	err := group.Run()
	s.Close()
	if err != nil {
		_ = level.Error(s.logger).Log("msg", "stopped", "err", err)
		return err
	}
	_ = level.Info(s.logger).Log("msg", "stopped")
	return nil
}

// profiles serves what net/http/pprof would register globally.
func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	return mux
}

// migrate brings the schema up to date, and waits for a store that is down.
func (s *Server) migrate(ctx context.Context) error {
	for pause := 250 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		err := store.Migrate(ctx, s.cfg.DatabaseURL, s.logger)
		switch {
		case err == nil:
			close(s.migrated)
			return nil
		case ctx.Err() != nil:
			return nil
		case !errors.Is(err, service.ErrUnavailable):
			return err
		}
		_ = level.Error(s.logger).Log("msg", "the store is not there yet", "err", err, "next_try_in", pause)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

func (s *Server) retain(ctx context.Context) error {
	return retention.Run(ctx, retention.Config{
		Store: s.store,
		Policy: service.RetentionPolicy{
			History:   s.cfg.HistoryRetention,
			Stale:     s.cfg.RetireAfter,
			Threshold: s.cfg.StalenessThreshold,
			Tolerance: health.Tolerance,
			Actor:     s.cfg.ID,
		},
		Interval:    s.cfg.retentionInterval,
		Serviceable: s.serviceable.Serviceable,
		Observe:     s.metrics.ObservePrune,
		Logger:      s.logger,
	})
}

// writeConflicts writes once a second what was recorded; a store that is closed writes the rest.
func (s *Server) writeConflicts(ctx context.Context) error {
	ticker := time.NewTicker(conflictInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			_ = s.store.WriteConflicts(ctx) // The store's metrics count a failure, and the next write has it all.
		}
	}
}

func (s *Server) stopGRPC(deadline time.Time) {
	if soon := time.Now().Add(lastCall); soon.Before(deadline) {
		deadline = soon
	}
	done := make(chan struct{})
	go func() {
		s.grpcServer.GracefulStop()
		close(done)
	}()
	// HTTP stays up for those who ask whether this server is ready. When the drain is nearly over it must stop as well, or
	// it would be left no time to finish its own calls.
	select {
	case <-done:
		return
	case <-time.After(time.Until(deadline) - min(httpShare, s.cfg.Drain/4)):
		go s.stopHTTP(deadline)
	}
	select {
	case <-done:
	case <-time.After(time.Until(deadline)):
		_ = level.Warn(s.logger).Log("msg", "calls were cut off at the end of the drain")
		s.grpcServer.Stop()
		<-done
	}
}

func (s *Server) stopHTTP(deadline time.Time) {
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	if err := s.httpServer.Shutdown(ctx); err != nil {
		_ = s.httpServer.Close()
	}
}
