package httptransport

import (
	"context"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/go-kit/log"

	"darktower.example/global-controller/endpoints"
	"darktower.example/global-controller/service"
	"darktower.example/global-controller/transport"
	"darktower.example/global-controller/transport/http/web"
)

// route is one route of the API. The router and the OpenAPI document are both made from it.
type route struct {
	method, pattern string
	operation       string // As in endpoints.Operations; empty if the route is not an operation.
	summary         string
	handler         http.Handler
	// query lists the optional parameters. request and response are values of the bodies' types, nil for none. If a request may
	// omit its body, request is an optionalBody.
	query             []string
	request, response any
}

func apiRoutes(e endpoints.Endpoints) []route {
	return slices.Concat(controllerRoutes(e), operatorRoutes(e), toolRoutes(e), placementRoutes(e))
}

const controllerPath = "/api/v1/controllers/{id}"

// controllerRoutes returns the routes for meeting controllers.
func controllerRoutes(e endpoints.Endpoints) []route {
	return []route{
		{
			method:    http.MethodPut,
			pattern:   controllerPath,
			operation: "RegisterMC",
			summary:   "Register a controller",
			handler:   handle(e.RegisterMC, decodeRegistration, encodeRegistrationResponse),
			request:   registrationBody{},
			response:  registrationResponseBody{},
		},

		{
			method:    http.MethodPost,
			pattern:   controllerPath + "/heartbeats/fast",
			operation: "FastHeartbeat",
			summary:   "Report load and state",
			handler:   handle(e.FastHeartbeat, decodeFastHeartbeat, encodeAcknowledgement),
			request:   fastHeartbeatBody{},
			response:  acknowledgementBody{},
		},

		{
			method:    http.MethodPost,
			pattern:   controllerPath + "/heartbeats/comprehensive",
			operation: "ComprehensiveHeartbeat",
			summary:   "Report load, state, CPU and memory",
			handler:   handle(e.ComprehensiveHeartbeat, decodeComprehensiveHeartbeat, encodeAcknowledgement),
			request:   comprehensiveHeartbeatBody{},
			response:  acknowledgementBody{},
		},
	}
}

// operatorRoutes returns the routes for operators.
func operatorRoutes(e endpoints.Endpoints) []route {
	return []route{
		{
			method:    http.MethodPost,
			pattern:   controllerPath + "/drain",
			operation: "Drain",
			summary:   "Drain a controller: it accepts no new meetings until the drain ends",
			handler:   handle(e.Drain, decodeDrain, encodeDrainResponse),
			request:   optionalBody{drainOrderBody{}},
			response:  drainResponseBody{},
		},

		{
			method:    http.MethodDelete,
			pattern:   controllerPath + "/drain",
			operation: "Undrain",
			summary:   "End a drain",
			handler:   handle(e.Undrain, decodeUndrain, encodeController),
			query:     []string{"reason", "expected_generation"},
			response:  controllerBody{},
		},

		{
			method:    http.MethodDelete,
			pattern:   controllerPath,
			operation: "Deregister",
			summary:   "Remove a controller from the fleet",
			handler:   handle(e.Deregister, decodeDeregistration, encodeDeregistrationResponse),
			query:     []string{"reason", "expected_generation"},
			response:  deregistrationResponseBody{},
		},
	}
}

// toolRoutes returns the routes for tools, which read the fleet.
func toolRoutes(e endpoints.Endpoints) []route {
	return []route{
		{
			method:    http.MethodGet,
			pattern:   controllerPath,
			operation: "GetController",
			summary:   "Get a controller, with every reason why it accepts no new meetings",
			handler:   handle(e.GetController, decodeControllerQuery, encodeController),
			response:  controllerBody{},
		},

		{
			method:    http.MethodGet,
			pattern:   "/api/v1/controllers",
			operation: "ListControllers",
			summary:   "List a page of the fleet",
			handler:   handle(e.ListControllers, decodeListQuery, encodePage),
			query:     []string{"region", "health", "page_size", "page_token"},
			response:  controllersBody{},
		},

		{
			method:    http.MethodGet,
			pattern:   "/api/v1/transitions",
			operation: "ListTransitions",
			summary:   "List changes of controllers' public states, the oldest first by default",
			handler:   handle(e.ListTransitions, decodeTransitionQuery, encodeTransitions),
			query:     transitionsQuery,
			response:  transitionsBody{},
		},

		{
			method:    http.MethodGet,
			pattern:   controllerPath + "/transitions",
			operation: "ListTransitions",
			summary:   "List the changes of one controller's public state",
			handler:   handle(e.ListTransitions, decodeControllerTransitionQuery, encodeTransitions),
			query:     controllerTransitionsQuery,
			response:  transitionsBody{},
		},

		{
			method:    http.MethodGet,
			pattern:   "/api/v1/regions",
			operation: "ListRegions",
			summary:   "List the regions: controllers by state, limits, load, and the headroom if the largest controller fails",
			handler:   handle(e.ListRegions, decodeRegionQuery, encodeRegions),
			response:  regionsBody{},
		},

		{
			method:    http.MethodGet,
			pattern:   "/api/v1/replicas",
			operation: "ListReplicas",
			summary:   "List the Global Controllers over this store, with their settings and connections, and the state of the store",
			handler:   handle(e.ListReplicas, decodeReplicaQuery, encodeReplicas),
			response:  replicasBody{},
		},
	}
}

// Config is the configuration of the handler.
type Config struct {
	Logger log.Logger
	// OnPanic is called for each panic that was caught. It may be nil.
	OnPanic func()
	// Metrics serves /metrics.
	Metrics http.Handler
	// Trace wraps the handler of a route of the API, so that its requests are traced. It may be nil.
	Trace func(method, pattern string, next http.Handler) http.Handler
	// Ready returns the readiness checks by name; the state of a passed check is "ok".
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

// readyHandler serves the readiness checks.
func readyHandler(ready func(ctx context.Context) map[string]string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		checks := ready(r.Context())
		body, status := readyBody{Ready: true, Checks: checks}, http.StatusOK
		for _, state := range checks {
			if state != "ok" {
				body.Ready, status = false, http.StatusServiceUnavailable
			}
		}
		writeJSON(w, status, body)
	}
}

// newRouter returns the router of the routes. Its errors have the same form as all other errors.
func newRouter(routes []route, onUnknown func(address, what string)) http.Handler {
	mux := http.NewServeMux()
	methods := make(map[string]map[string]http.Handler)
	for _, r := range routes {
		if methods[r.pattern] == nil {
			methods[r.pattern] = make(map[string]http.Handler)
		}
		methods[r.pattern][r.method] = r.handler
	}
	for pattern, byMethod := range methods {
		mux.Handle(pattern, methodHandler(byMethod))
	}

	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The mux would respond to an unclean path with a redirect in HTML.
		_, pattern := mux.Handler(r)
		if pattern == "" || path.Clean(r.URL.Path) != r.URL.Path {
			if onUnknown != nil {
				onUnknown(endpoints.CallFrom(r.Context()).Address, r.Method+" "+r.URL.Path)
			}
			writeErrorBody(w, http.StatusNotFound, transport.CodeNotFound, "No such path; see /openapi.json")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// methodHandler serves one path. HEAD is served by the handler of GET.
func methodHandler(byMethod map[string]http.Handler) http.HandlerFunc {
	allowed := slices.Collect(maps.Keys(byMethod))
	if _, ok := byMethod[http.MethodGet]; ok {
		allowed = append(allowed, http.MethodHead)
	}
	slices.Sort(allowed)
	allow := strings.Join(allowed, ", ")

	return func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		handler, ok := byMethod[method]
		if !ok {
			w.Header().Set("Allow", allow)
			writeErrorBody(w, http.StatusMethodNotAllowed, transport.CodeBadRequest, "Method not allowed; use "+allow)
			return
		}
		handler.ServeHTTP(w, r)
	}
}
