package httptransport

import (
	"context"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/go-kit/log"

	"darktower.example/global-controller/endpoints"
	"darktower.example/global-controller/service"
	"darktower.example/global-controller/transport/http/web"
)

// route is one line of the API: the router and the OpenAPI document are both made from it.
type route struct {
	method, pattern string
	operation       string // as in endpoints.Operations; empty for what is not one
	summary         string
	handler         http.Handler
	// query lists the optional parameters; request and response are values of the bodies' types, nil for none. A request that
	// may omit its body is an optionalBody.
	query             []string
	request, response any
}

func apiRoutes(e endpoints.Endpoints) []route {
	const one = "/api/v1/controllers/{id}"
	return []route{
		{http.MethodPut, one, "RegisterMC", "Register a controller", handle(e.RegisterMC, decodeRegistration, encodeRegistered), nil, registerBody{}, registeredBody{}},
		{http.MethodPost, one + "/heartbeats/fast", "FastHeartbeat", "Report load and state", handle(e.FastHeartbeat, decodeFast, encodeAcknowledged), nil, fastBody{}, acknowledgedBody{}},
		{http.MethodPost, one + "/heartbeats/comprehensive", "ComprehensiveHeartbeat", "Report load, state, CPU and memory", handle(e.ComprehensiveHeartbeat, decodeComprehensive, encodeAcknowledged), nil, comprehensiveBody{}, acknowledgedBody{}},
		{http.MethodGet, one, "GetController", "One controller, with why it is or is not placeable", handle(e.GetController, decodeControllerQuery, encodeController), nil, nil, controllerBody{}},
		{http.MethodGet, "/api/v1/controllers", "ListControllers", "A page of the fleet", handle(e.ListControllers, decodeListQuery, encodePage), []string{"region", "health", "page_size", "page_token"}, nil, controllersBody{}},
		{http.MethodDelete, one, "Deregister", "Take a controller out of the fleet", handle(e.Deregister, decodeDeregistration, encodeDeregistered), []string{"reason", "expected_generation"}, nil, deregisteredBody{}},
		{
			method:    http.MethodPost,
			pattern:   one + "/drain",
			operation: "Drain",
			summary:   "Have a controller take no new meetings",
			handler:   handle(e.Drain, decodeDrain, encodeDrained),
			request:   optionalBody{drainOrderBody{}},
			response:  drainedBody{},
		},
		{http.MethodDelete, one + "/drain", "Undrain", "End a drain", handle(e.Undrain, decodeUndrain, encodeController), []string{"reason", "expected_generation"}, nil, controllerBody{}},
		{http.MethodGet, "/api/v1/transitions", "ListTransitions", "Changes of public state, the oldest first", handle(e.ListTransitions, decodeTransitionQuery, encodeTransitions), transitionsQuery, nil, transitionsBody{}},
		{http.MethodGet, one + "/transitions", "ListTransitions", "One controller's changes of public state", handle(e.ListTransitions, decodeTransitionQueryOfOne, encodeTransitions), transitionsQueryOfOne, nil, transitionsBody{}},
		{http.MethodGet, "/api/v1/regions", "ListRegions", "Every region: controllers by state, capacity, load, and what is left if the largest one fails", handle(e.ListRegions, decodeRegionQuery, encodeRegions), nil, nil, regionsBody{}},
		{
			method:    http.MethodGet,
			pattern:   "/api/v1/replicas",
			operation: "ListReplicas",
			summary:   "The replicas over this store, with their settings and connections, and the store",
			handler:   handle(e.ListReplicas, decodeReplicaQuery, encodeReplicas),
			response:  replicasBody{},
		},
	}
}

// Config is what the handler needs beside the endpoints.
type Config struct {
	Logger  log.Logger
	OnPanic func()
	// Metrics serves /metrics.
	Metrics http.Handler
	// Trace has the requests of a route of the API traced; nil for none.
	Trace func(method, pattern string, next http.Handler) http.Handler
	// Ready names what keeps this server from serving, nothing when it can.
	Ready func(ctx context.Context) map[string]string
	// Controllers lists the fleet for /sd/controllers, as the store does: part by part, in the order of the ids.
	Controllers func(ctx context.Context, filter service.ControllerFilter) ([]service.Controller, error)
	// SDNeedsToken has /sd/controllers need a token that may read the fleet.
	SDNeedsToken bool
	// Draining is done when the server is about to stop; nil for never.
	Draining context.Context //nolint:containedctx // It is no call's context but the server's own life.
	// Unknown counts a request to a path that is not served. It may be nil and must not block.
	Unknown func(address, what string)
	// Authenticator tells whether the token of a watch has run out; nil for nobody.
	Authenticator endpoints.Authenticator
}

type readyBody struct {
	Ready  bool              `json:"ready"`
	Checks map[string]string `json:"checks"`
}

// NewHandler returns the whole HTTP side of the service.
func NewHandler(e endpoints.Endpoints, cfg Config) http.Handler {
	routes := append(apiRoutes(e), watchRoute(e, cfg))
	document := openAPI(routes)
	for i, r := range routes {
		if cfg.Trace != nil {
			routes[i].handler = cfg.Trace(r.method, r.pattern, r.handler)
		}
	}
	routes = append(
		routes,
		route{method: http.MethodGet, pattern: "/health", handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			_, _ = w.Write([]byte("OK"))
		})},
		route{method: http.MethodGet, pattern: "/ready", handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			checks := cfg.Ready(r.Context())
			body, status := readyBody{Ready: true, Checks: checks}, http.StatusOK
			for _, state := range checks {
				if state != "ok" {
					body.Ready, status = false, http.StatusServiceUnavailable
				}
			}
			writeJSON(w, status, body)
		})},
		route{method: http.MethodGet, pattern: "/metrics", handler: cfg.Metrics},
		route{method: http.MethodGet, pattern: "/sd/controllers", handler: newDiscovery(e, cfg)},
		route{method: http.MethodGet, pattern: "/openapi.json", handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, document) })},
	)
	for _, page := range web.Pages() {
		routes = append(routes, route{method: http.MethodGet, pattern: page.Pattern, handler: page})
	}
	return withCall(router(routes, cfg.Unknown), cfg.Logger, cfg.OnPanic)
}

// router answers what it does not know in the same form as every other error.
func router(routes []route, unknown func(address, what string)) http.Handler {
	mux := http.NewServeMux()
	methods := make(map[string]map[string]http.Handler)
	for _, r := range routes {
		if methods[r.pattern] == nil {
			methods[r.pattern] = make(map[string]http.Handler)
		}
		methods[r.pattern][r.method] = r.handler
	}
	for pattern, byMethod := range methods {
		var allowed []string
		for method := range byMethod {
			allowed = append(allowed, method)
			if method == http.MethodGet {
				allowed = append(allowed, http.MethodHead)
			}
		}
		slices.Sort(allowed)
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			method := r.Method
			if method == http.MethodHead {
				method = http.MethodGet
			}
			handler, ok := byMethod[method]
			if !ok {
				w.Header().Set("Allow", strings.Join(allowed, ", "))
				writeFailure(w, http.StatusMethodNotAllowed, "BAD_REQUEST", "Method not allowed; use "+strings.Join(allowed, ", "))
				return
			}
			handler.ServeHTTP(w, r)
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The mux would answer an unclean path with a redirect in HTML.
		_, pattern := mux.Handler(r)
		if pattern == "" || path.Clean(r.URL.Path) != r.URL.Path {
			if unknown != nil {
				unknown(endpoints.CallFrom(r.Context()).Address, r.Method+" "+r.URL.Path)
			}
			writeFailure(w, http.StatusNotFound, "NOT_FOUND", "No such path; see /openapi.json")
			return
		}
		mux.ServeHTTP(w, r)
	})
}
