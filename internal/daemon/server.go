// Package daemon builds and runs the Global Controller. The command global-controller and the demo ("gcctl dev") both use it,
// so they run the same server.
package daemon

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"google.golang.org/grpc"
	grpchealth "google.golang.org/grpc/health"

	"darktower.example/global-controller/pkg/health"
	"darktower.example/global-controller/pkg/metrics"
	"darktower.example/global-controller/pkg/store"
	"darktower.example/global-controller/pkg/tracing"
	"darktower.example/global-controller/pkg/watch"
)

// Version is set when a release is built.
var Version = "dev"

// Server is a Global Controller whose listeners are bound. [Server.Run] serves.
type Server struct {
	cfg    Config
	logger log.Logger

	metrics *metrics.Metrics
	events  *eventLog
	traces  *tracing.Tracing // nil unless traces are sent
	store   *store.Store
	auth    *authState
	watches *watch.Hub

	heartbeats  *health.HeartbeatMonitor
	serviceable *health.Serviceability
	checker     *health.Checker

	grpcHealth    *grpchealth.Server
	grpcServer    *grpc.Server
	httpServer    *http.Server
	grpcListener  net.Listener
	httpListener  net.Listener
	pprofListener net.Listener // nil unless profiles are served

	migrated       chan struct{} // Closed when the schema is up to date.
	isIncompatible atomic.Bool   // The schema is not for this binary.

	shutdownCtx   context.Context //nolint:containedctx // It lasts as long as the server, not as a call.
	beginShutdown context.CancelFunc
	cleanups      []cleanup
	closeOnce     sync.Once
}

// cleanup releases one thing that [New] took.
type cleanup struct {
	name string
	run  func() error
}

// GRPCAddress returns the address of the gRPC listener.
func (s *Server) GRPCAddress() string { return s.grpcListener.Addr().String() }

// HTTPAddress returns the address of the HTTP listener.
func (s *Server) HTTPAddress() string { return s.httpListener.Addr().String() }

func (s *Server) addCleanup(name string, run func() error) {
	s.cleanups = append(s.cleanups, cleanup{name, run})
}

// Close releases what [New] took, the last first. It may be called more than once; [Server.Run] calls it at its end.
func (s *Server) Close() {
	s.beginShutdown()
	s.closeOnce.Do(func() {
		for i := len(s.cleanups) - 1; i >= 0; i-- {
			if err := s.cleanups[i].run(); err != nil {
				_ = level.Debug(s.logger).Log("msg", "close failed", "what", s.cleanups[i].name, "err", err)
			}
		}
	})
}
