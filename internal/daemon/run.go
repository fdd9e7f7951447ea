package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/go-kit/log/level"
	"github.com/oklog/run"
)

// Run serves until ctx ends, then completes the calls in flight and returns nil. An actor is a function that runs and one that
// stops it; the actors are stopped one after the other in the order below.
func (s *Server) Run(ctx context.Context) error {
	var group run.Group
	stopDeadline := s.addShutdown(ctx, &group)

	addTask(&group, "migrate the schema", s.migrateSchema)
	addTask(&group, "check the schema", s.checkSchema)
	addTask(&group, "check health", s.checkHealth)
	addTask(&group, "prune old records", s.pruneRecords)
	addTask(&group, "write conflicts", s.writeConflicts)
	addTask(&group, "share connections", s.shareConnections)
	// Watches never end by themselves, so they end as soon as the shutdown begins.
	addTask(&group, "watch", func(context.Context) error { return s.watches.Run(s.shutdownCtx) })

	group.Add(func() error { return s.grpcServer.Serve(s.grpcListener) }, func(error) { s.stopGRPC(*stopDeadline) })
	addHTTPServer(&group, "HTTP", s.httpServer, s.httpListener, func() { s.stopHTTP(*stopDeadline) })
	if s.pprofListener != nil {
		profiles := &http.Server{Handler: newProfileHandler(), ReadHeaderTimeout: 5 * time.Second}
		addHTTPServer(&group, "profiles", profiles, s.pprofListener, func() { _ = profiles.Close() })
		_ = level.Info(s.logger).Log("msg", "serving profiles", "address", s.pprofListener.Addr())
	}

	addTask(&group, "publish readiness", s.publishReadinessPeriodically)
	addTask(&group, "refresh keys", s.auth.keys.Run)
	addTask(&group, "write log summaries", s.events.writeSummaries)

	s.logStart()
	err := group.Run()
	s.Close()
	if err != nil {
		_ = level.Error(s.logger).Log("msg", "server failed", "err", err)
		return err
	}
	_ = level.Info(s.logger).Log("msg", "stopped")
	return nil
}

// addShutdown adds the actor that waits for the end of ctx and begins the shutdown. The deadline that it returns is set when
// the shutdown begins.
func (s *Server) addShutdown(ctx context.Context, group *run.Group) *time.Time {
	var deadline time.Time
	stopped, stop := context.WithCancel(ctx)

	group.Add(func() error {
		<-stopped.Done()
		return nil
	}, func(error) {
		deadline = time.Now().Add(s.cfg.ShutdownTimeout)
		_ = level.Info(s.logger).Log("msg", "stopping", "shutdown_timeout", s.cfg.ShutdownTimeout)
		s.beginShutdown()
		s.grpcHealth.Shutdown()
		stop()
	})
	return &deadline
}

// addTask adds an actor that works until it is stopped. An error of the task stops the server.
func addTask(group *run.Group, name string, work func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	group.Add(func() error {
		if err := work(ctx); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		<-ctx.Done()
		return nil
	}, func(error) { cancel() })
}

func addHTTPServer(group *run.Group, name string, server *http.Server, listener net.Listener, stop func()) {
	group.Add(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve %s: %w", name, err)
		}
		return nil
	}, func(error) { stop() })
}

func (s *Server) logStart() {
	_ = level.Info(s.logger).Log(
		"msg", "serving",
		"grpc", s.GRPCAddress(),
		"http", s.HTTPAddress(),
		"id", s.cfg.ID,
		"region", s.cfg.Region,
		"database", redact(s.cfg.DatabaseURL),
		"keys", redact(s.cfg.JWKSURL),
		"traces", redact(s.cfg.TraceEndpoint),
		"version", Version,
	)
}

// newProfileHandler serves what net/http/pprof would register globally.
func newProfileHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	return mux
}
