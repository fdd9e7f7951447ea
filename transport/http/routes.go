package httptransport

import (
	"context"
	"net/http"
	"slices"

	kithttp "github.com/go-kit/kit/transport/http"

	"darktower.example/global-controller/endpoints"
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
			summary:   "List changes of controllers' public state or staleness, the oldest first by default",
			handler:   handle(e.ListTransitions, decodeTransitionQuery, encodeTransitions),
			query:     transitionsQuery,
			response:  transitionsBody{},
		},

		{
			method:    http.MethodGet,
			pattern:   controllerPath + "/transitions",
			operation: "ListTransitions",
			summary:   "List the changes of one controller's public state or staleness",
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

// handle serves an endpoint. An error of decode is passed to the endpoint, which returns it after the middleware ran.
func handle[Req, Resp any](
	e endpoints.Endpoint[Req, Resp], decode func(*http.Request) (Req, error), encode func(Resp) any,
) http.Handler {
	return kithttp.NewServer(
		func(ctx context.Context, request any) (any, error) {
			r := request.(endpoints.Request[Req]) //nolint:forcetypeassert // The decoder below returns it.
			return e.Call(ctx, r.Value, r.DecodeErr)
		},
		func(_ context.Context, r *http.Request) (any, error) {
			value, err := decode(r)
			return endpoints.Request[Req]{Value: value, DecodeErr: err}, nil
		},
		func(_ context.Context, w http.ResponseWriter, response any) error {
			writeJSON(w, http.StatusOK, encode(response.(Resp))) //nolint:forcetypeassert // The endpoint above returns it.
			return nil
		},
		kithttp.ServerErrorEncoder(func(_ context.Context, err error, w http.ResponseWriter) { writeError(w, err) }),
	)
}
