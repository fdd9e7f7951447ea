package e2e

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	pb "darktower.example/global-controller/proto/darktower/v1"
)

// call is a call of a meeting controller over any protocol.
type call struct {
	operation string
	id        string
	fields    map[string]any
	// authorization is the header's value; nil sends none.
	authorization *string
}

// protocol is a way to make a call.
type protocol struct {
	name string
	// service is the gRPC service's full name, empty for HTTP.
	service string
}

var (
	viaGRPC      = protocol{"grpc", "dark_tower.internal.v1.GlobalControllerService"}
	viaOlderGRPC = protocol{"grpc by the older name", "dark_tower.internal.GlobalControllerService"}
	viaHTTP      = protocol{"http", ""}
)

func protocols() []protocol { return []protocol{viaGRPC, viaOlderGRPC, viaHTTP} }

// outcome is how a call ended, over any protocol. The zero value is a success.
type outcome struct {
	code    codes.Code
	message string
}

var unavailable = outcome{codes.Unavailable, "Service temporarily unavailable"}

// send makes a call and returns its outcome.
func (env *environment) send(via protocol, c call) outcome {
	env.t.Helper()
	if via.service == "" {
		return env.sendHTTP(c)
	}
	_, err := env.invoke(via.service, c)
	return outcome{status.Code(err), status.Convert(err).Message()}
}

// invoke makes a call over gRPC.
func (env *environment) invoke(service string, c call) (proto.Message, error) {
	env.t.Helper()
	fields := maps.Clone(c.fields)
	if fields == nil {
		fields = map[string]any{}
	}

	var request, response proto.Message
	switch c.operation {
	case "RegisterMC":
		fields["id"] = c.id
		request, response = &pb.RegisterMCRequest{}, &pb.RegisterMCResponse{}
	case "FastHeartbeat":
		fields["controller_id"] = c.id
		request, response = &pb.FastHeartbeatRequest{}, &pb.FastHeartbeatResponse{}
	case "ComprehensiveHeartbeat":
		fields["controller_id"] = c.id
		request, response = &pb.ComprehensiveHeartbeatRequest{}, &pb.ComprehensiveHeartbeatResponse{}
	default:
		env.t.Fatalf("operation %q", c.operation)
	}

	data, err := json.Marshal(fields)
	if err == nil {
		err = protojson.Unmarshal(data, request)
	}
	if err != nil {
		env.t.Fatalf("%s %v: %v", c.operation, fields, err)
	}

	ctx, cancel := context.WithTimeout(context.Background(), waitTimeout)
	defer cancel()
	if c.authorization != nil {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", *c.authorization)
	}

	return response, env.conn.Invoke(ctx, "/"+service+"/"+c.operation, request, response)
}

// httpErrors has the status and the gRPC code that belong to an error's code over HTTP.
var httpErrors = map[string]struct {
	status int
	code   codes.Code
}{
	"BAD_REQUEST":         {400, codes.InvalidArgument},
	"INVALID_TOKEN":       {401, codes.Unauthenticated},
	"FORBIDDEN":           {403, codes.PermissionDenied},
	"NOT_FOUND":           {404, codes.NotFound},
	"CONFLICT":            {409, codes.FailedPrecondition},
	"RATE_LIMIT_EXCEEDED": {429, codes.ResourceExhausted},
	"SERVICE_UNAVAILABLE": {503, codes.Unavailable},
}

func (env *environment) sendHTTP(c call) outcome {
	env.t.Helper()
	data, err := json.Marshal(c.fields)
	if err != nil {
		env.t.Fatalf("%v: %v", c.fields, err)
	}

	method, path := http.MethodPut, "/api/v1/controllers/"+c.id

	switch c.operation {
	case "FastHeartbeat":
		method, path = http.MethodPost, path+"/heartbeats/fast"
	case "ComprehensiveHeartbeat":
		method, path = http.MethodPost, path+"/heartbeats/comprehensive"
	}

	header := http.Header{}
	if c.authorization != nil {
		header.Set("Authorization", *c.authorization)
	}

	got := env.request(method, path, string(data), header)
	if got.status == http.StatusOK {
		return outcome{}
	}

	var body struct {
		Error struct{ Code, Message string }
	}
	got.decode(env.t, &body)
	want, ok := httpErrors[body.Error.Code]
	if !ok || want.status != got.status {
		env.t.Errorf("%s %s = %d %s, want a status and a code that belong together", method, path, got.status, got.body)
	}
	if challenge := got.header.Get("WWW-Authenticate"); (got.status == http.StatusUnauthorized) != (challenge == "Bearer") {
		env.t.Errorf("%s %s = %d with WWW-Authenticate %q, want Bearer with 401 and only there", method, path, got.status, challenge)
	}

	return outcome{want.code, body.Error.Message}
}

// register registers a controller, or fails the test.
func (env *environment) register(id string, fields map[string]any) {
	env.t.Helper()
	if got := env.send(viaGRPC, call{"RegisterMC", id, fields, env.controllerAuth()}); got != (outcome{}) {
		env.t.Fatalf("RegisterMC(%s) = %v", id, got)
	}
}

// heartbeat sends a fast heartbeat, or fails the test.
func (env *environment) heartbeat(id string, fields map[string]any) {
	env.t.Helper()
	if got := env.send(viaGRPC, call{"FastHeartbeat", id, fields, env.controllerAuth()}); got != (outcome{}) {
		env.t.Fatalf("FastHeartbeat(%s) = %v", id, got)
	}
}

// registerHealthy registers controllers of one region, each with 3 of 100 meetings, that report that they are healthy.
func (env *environment) registerHealthy(ids ...string) {
	env.t.Helper()
	for _, id := range ids {
		env.register(id, registration())
		env.heartbeat(id, fastHeartbeat())
	}
}

// sendOperatorCall makes a call of an operator over HTTP, or fails the test.
func (env *environment) sendOperatorCall(method, path, body string) {
	env.t.Helper()
	got := env.request(method, "/api/v1/controllers/"+path, body, bearer(env.adminToken()))
	if got.status != http.StatusOK {
		env.t.Fatalf("%s %s = %d %s", method, path, got.status, got.body)
	}
}

// registration returns the fields of a registration.
func registration() map[string]any {
	return map[string]any{
		"region":                "eu-west-1",
		"grpc_endpoint":         "http://mc.example:50052",
		"webtransport_endpoint": "https://mc.example:4433",
		"max_meetings":          100,
		"max_participants":      1000,
	}
}

// fastHeartbeat returns the fields of a fast heartbeat.
func fastHeartbeat() map[string]any {
	return map[string]any{
		"capacity": map[string]any{"max_meetings": 100, "current_meetings": 3, "max_participants": 1000, "current_participants": 30},
		"health":   1,
	}
}

// comprehensiveHeartbeat returns the fields of a comprehensive heartbeat.
func comprehensiveHeartbeat() map[string]any {
	fields := fastHeartbeat()
	fields["cpu_usage_percent"], fields["memory_usage_percent"] = 12.5, 50
	return fields
}

// registerRequest returns a registration over gRPC, as short as it may be.
func registerRequest(id string) *pb.RegisterMCRequest {
	return &pb.RegisterMCRequest{Id: id, Region: "eu", GrpcEndpoint: "http://mc.example", MaxMeetings: 1, MaxParticipants: 1}
}

// heartbeatRequest returns a heartbeat over gRPC of a healthy controller without meetings.
func heartbeatRequest(id string) *pb.FastHeartbeatRequest {
	return &pb.FastHeartbeatRequest{
		ControllerId: id,
		Capacity:     &pb.ControllerCapacity{},
		Health:       pb.HealthStatus_HEALTH_STATUS_HEALTHY,
	}
}

// with returns fields with one of them replaced, or removed if value is nil.
func with(fields map[string]any, name string, value any) map[string]any {
	fields = maps.Clone(fields)
	if value == nil {
		delete(fields, name)
	} else {
		fields[name] = value
	}
	return fields
}

// controllerAuth returns the authorization of a meeting controller.
func (env *environment) controllerAuth() *string {
	return new("Bearer " + env.issuer.token(nil, nil))
}

// readerToken returns a token that may read the fleet.
func (env *environment) readerToken() string {
	return env.issuer.token(nil, map[string]any{"scope": "gc:read"})
}

// adminToken returns a token of an operator.
func (env *environment) adminToken() string {
	return env.issuer.token(nil, map[string]any{"sub": "operator-1", "scope": "gc:admin"})
}

// adminContext returns a context for gRPC calls of an operator.
func (env *environment) adminContext() context.Context {
	return metadata.AppendToOutgoingContext(env.t.Context(), "authorization", "Bearer "+env.adminToken())
}

// controllerBody is a controller over HTTP.
type controllerBody struct {
	ControllerID    string    `json:"controller_id"`
	Health          string    `json:"health"`
	CurrentMeetings int       `json:"current_meetings"`
	Stale           bool      `json:"stale"`
	LastHeartbeatAt time.Time `json:"last_heartbeat_at"`
}

// listFleet returns all controllers by their ids.
func (env *environment) listFleet() map[string]controllerBody {
	env.t.Helper()
	found := make(map[string]controllerBody)

	for page := ""; ; {
		got := env.get("/api/v1/controllers?page_size=1000&page_token="+page, env.readerToken())
		if got.status != http.StatusOK {
			env.t.Fatalf("list = %d %s", got.status, got.body)
		}
		var body struct {
			Controllers   []controllerBody
			NextPageToken string `json:"next_page_token"`
		}
		got.decode(env.t, &body)

		for _, c := range body.Controllers {
			found[c.ControllerID] = c
		}
		if page = body.NextPageToken; page == "" {
			return found
		}
	}
}
