// Package httptransport serves the endpoints as JSON over HTTP, for tools and for the web page.
package httptransport

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"darktower.example/global-controller/endpoints"
	"darktower.example/global-controller/service"
	"darktower.example/global-controller/transport"
	"darktower.example/global-controller/transport/http/web"
)

// httpCallTimeout limits the time of a call from its start. Deployed controllers give up after 10 s. The timeout is one second
// shorter, so that they receive the error.
const httpCallTimeout = 9 * time.Second

// Config is the configuration of the handler.
type Config struct {
	Logger log.Logger
	// OnPanic is called for each panic that was caught. It may be nil.
	OnPanic func()
	// Metrics serves /metrics.
	Metrics http.Handler
	// Trace wraps the handler of a route of the API, so that its requests are traced. It may be nil.
	Trace func(method, pattern string, next http.Handler) http.Handler
	// Ready returns the state of each readiness condition by its name; "ok" is the state of one that holds.
	Ready func(ctx context.Context) map[string]string
	// Controllers lists a part of the fleet for /sd/controllers, like [service.Store].Controllers.
	Controllers func(ctx context.Context, filter service.ControllerFilter) ([]service.Controller, error)
	// SDNeedsToken makes /sd/controllers require a token that may read the fleet.
	SDNeedsToken bool
	// Shutdown is done when the shutdown of the server begins. It may be nil.
	Shutdown context.Context //nolint:containedctx // It belongs to the server, not to a call.
	// OnUnknownCall is called for each request to a path that is not served. It may be nil and must not block.
	OnUnknownCall func(address, what string)
	// Authenticator verifies the token of an open watch again. If it is nil, watches outlive their tokens.
	Authenticator endpoints.Authenticator
}

type readyBody struct {
	Ready  bool              `json:"ready"`
	Checks map[string]string `json:"checks"`
}

// NewHandler returns the handler of all HTTP routes.
func NewHandler(e endpoints.Endpoints, cfg Config) http.Handler {
	routes := append(apiRoutes(e), watchRoute(e, cfg))
	document := openAPI(routes)
	if cfg.Trace != nil {
		for i, r := range routes {
			routes[i].handler = cfg.Trace(r.method, r.pattern, r.handler)
		}
	}

	serveDocument := func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, document) }
	routes = append(
		routes,
		route{method: http.MethodGet, pattern: "/health", handler: http.HandlerFunc(serveHealth)},
		route{method: http.MethodGet, pattern: "/ready", handler: readyHandler(cfg.Ready)},
		route{method: http.MethodGet, pattern: "/metrics", handler: cfg.Metrics},
		route{method: http.MethodGet, pattern: "/sd/controllers", handler: newDiscovery(e, cfg)},
		route{method: http.MethodGet, pattern: "/openapi.json", handler: http.HandlerFunc(serveDocument)},
	)
	for _, page := range web.Pages() {
		routes = append(routes, route{method: http.MethodGet, pattern: page.Pattern, handler: page})
	}

	return withCall(newRouter(routes, cfg.OnUnknownCall), cfg.Logger, cfg.OnPanic)
}

// serveHealth serves the liveness check.
func serveHealth(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("OK"))
}

// readyHandler serves the readiness conditions, which the body calls checks.
func readyHandler(ready func(ctx context.Context) map[string]string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		states := ready(r.Context())
		body, status := readyBody{Ready: true, Checks: states}, http.StatusOK
		for _, state := range states {
			if state != "ok" {
				body.Ready, status = false, http.StatusServiceUnavailable
			}
		}
		writeJSON(w, status, body)
	}
}

// withCall describes the call to the middleware, sends the caller its request id, limits the time of the call, and catches panics.
func withCall(next http.Handler, logger log.Logger, onPanic func()) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call := newCall(r)
		w.Header().Set("X-Request-Id", call.RequestID)

		defer func() {
			if cause := recover(); cause != nil {
				_ = level.Error(logger).Log("msg", "panic", "path", r.URL.Path, "cause", fmt.Sprint(cause), "stack", string(debug.Stack()))
				if onPanic != nil {
					onPanic()
				}
				if w.Header().Get("Content-Type") == eventStream {
					panic(http.ErrAbortHandler) //nolint:forbidigo // A response that has begun can only be aborted.
				}
				writeErrorBody(w, http.StatusInternalServerError, transport.CodeInternalError, "Internal error")
			}
		}()

		ctx := endpoints.WithCall(r.Context(), call)
		if r.URL.Path != watchPath {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, httpCallTimeout)
			defer cancel()
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// newCall returns the description of a call for the middleware.
func newCall(r *http.Request) *endpoints.Call {
	address := r.RemoteAddr
	if host, _, err := net.SplitHostPort(address); err == nil {
		address = host
	}
	return &endpoints.Call{
		Transport:     "http",
		RequestID:     transport.RequestID(r.Header.Values("X-Request-Id")),
		Address:       address,
		Authorization: r.Header.Values("Authorization"),
	}
}
