package e2e

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	"darktower.example/global-controller/internal/daemon"
	pb "darktower.example/global-controller/proto/darktower/v1"
	fleetpb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// TestValidation_EveryRule goes through the contract's table of rules, on every way to the service.
func TestValidation_EveryRule(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		capacity := func(name string, value any) map[string]any {
			return with(fastHeartbeat(), "capacity", with(map[string]any{"current_meetings": 1, "current_participants": 1}, name, value))
		}
		label := strings.Repeat("a", 63)

		type rule struct {
			name      string
			operation string
			id        string
			fields    map[string]any
			// message is what is refused; empty when the call is taken.
			message string
			// only leaves out the ways on which the input cannot be written.
			only string
		}

		var rules []rule
		for _, operation := range []string{"RegisterMC", "FastHeartbeat", "ComprehensiveHeartbeat"} {
			fields := map[string]map[string]any{"RegisterMC": registration(), "FastHeartbeat": fastHeartbeat(), "ComprehensiveHeartbeat": comprehensiveHeartbeat()}[operation]

			rules = append(rules,
				rule{"no id", operation, "", fields, "controller_id is required", "grpc"},
				rule{"id of 255", operation, strings.Repeat("i", 255), fields, "", ""},
				rule{"id of 256", operation, strings.Repeat("i", 256), fields, "controller_id is too long", ""},
				rule{"id with a dot", operation, "a.b", fields, "controller_id contains invalid characters", ""},
				rule{"id beyond ASCII", operation, "mć", fields, "controller_id contains invalid characters", ""},
				rule{"the first failing field decides", operation, "a.b", nil, "controller_id contains invalid characters", ""},
			)
		}

		register := func(name, field string, value any, message string) {
			rules = append(rules, rule{name, "RegisterMC", "mc", with(registration(), field, value), message, ""})
		}
		register("no region", "region", nil, "region is required")
		register("region of 50", "region", strings.Repeat("r", 50), "")
		register("region of 51", "region", strings.Repeat("r", 51), "region is too long")
		register("region with a space", "region", "eu west", "region contains invalid characters")

		for _, field := range []string{"grpc_endpoint", "webtransport_endpoint"} {
			long := "https://" + label + "." + label + "." + label + "." + strings.Repeat("b", 55)
			register(field+" of 255", field, long, "")
			register(field+" of 256", field, long+"b", field+" is too long")
			for _, good := range []string{"http://a", "https://a.example:1/", "HTTP://10.0.0.1:65535", "http://[::1]:80"} {
				register(field+" "+good, field, good, "")
			}

			for _, bad := range []string{
				"a.example", "ftp://a", "http://", "http:///", "http://a:0", "http://a:65536", "http://a:", "http://u@a", "http://a?q=1", "http://a?", "http://a#f",
				"http://a/path", "http://-a", "http://a_b", "http://[::1", "http://a b", "http://a\n", "grpc://a:1",
				"http://0.0.0.0", "https://0.0.0.0:4433/", "http://[::]:50052", "http://[0:0:0:0:0:0:0:0]", "http://[::ffff:0.0.0.0]:1",
			} {
				register(field+" "+bad, field, bad, field+" must be a valid URL")
			}
		}

		register("no grpc_endpoint", "grpc_endpoint", nil, "grpc_endpoint is required")
		register("no webtransport_endpoint", "webtransport_endpoint", nil, "")

		for _, field := range []string{"max_meetings", "max_participants"} {
			register(field+" of 1", field, 1, "")
			register("no "+field, field, nil, field+" must be greater than 0")
			register(field+" at most", field, 2147483647, "")
			register(field+" too large", field, 2147483648, field+" value too large")
			register(field+" largest on the wire", field, uint32(4294967295), field+" value too large")
		}

		for _, operation := range []string{"FastHeartbeat", "ComprehensiveHeartbeat"} {
			rules = append(rules, rule{"no capacity", operation, "mc", with(heartbeatFields(operation), "capacity", nil), "capacity is required", ""})

			for _, field := range []string{"current_meetings", "current_participants"} {
				rules = append(rules,
					rule{field + " at most", operation, "mc", withCapacity(heartbeatFields(operation), capacity(field, 2147483647)), "", ""},
					rule{field + " too large", operation, "mc", withCapacity(heartbeatFields(operation), capacity(field, 2147483648)), field + " value too large", ""},
				)
			}

			rules = append(rules, rule{"limits are ignored", operation, "mc", withCapacity(heartbeatFields(operation), capacity("max_meetings", 0)), "", ""})
			rules = append(rules, rule{"a health of 0", operation, "mc", with(heartbeatFields(operation), "health", 0), "", ""})
			rules = append(rules, rule{"no health", operation, "mc", with(heartbeatFields(operation), "health", nil), "health is required", "http"})
			rules = append(rules, rule{"no health and no capacity", operation, "mc", map[string]any{}, "capacity is required", ""})
			rules = append(rules, rule{"a health nobody knows", operation, "mc", with(heartbeatFields(operation), "health", 77), "", ""})
		}

		for _, field := range []string{"cpu_usage_percent", "memory_usage_percent"} {
			for _, good := range []any{0, 100, 99.5} {
				rules = append(rules, rule{field, "ComprehensiveHeartbeat", "mc", with(comprehensiveHeartbeat(), field, good), "", ""})
			}
			for _, bad := range []any{-0.5, 100.5} {
				rules = append(rules, rule{field, "ComprehensiveHeartbeat", "mc", with(comprehensiveHeartbeat(), field, bad), field + " must be between 0 and 100", ""})
			}
			for _, bad := range []any{"NaN", "Infinity", "-Infinity"} { // JSON has no such numbers.
				rules = append(rules, rule{field, "ComprehensiveHeartbeat", "mc", with(comprehensiveHeartbeat(), field, bad), field + " must be between 0 and 100", "grpc"})
			}
		}

		for _, id := range []string{"mc", strings.Repeat("i", 255)} {
			env.register(id, registration())
		}

		for _, via := range protocols() {
			for _, r := range rules {
				if r.only == "grpc" && via.service == "" || r.only == "http" && via.service != "" {
					continue
				}
				var want outcome
				before := env.get("/api/v1/controllers/mc", env.readerToken()).body
				if r.message != "" {
					want = outcome{codes.InvalidArgument, r.message}
				}
				if got := env.send(via, call{r.operation, r.id, r.fields, env.controllerAuth()}); got != want {
					t.Errorf("%s: %s: %s = %v, want %v", via.name, r.operation, r.name, got, want)
				}

				if after := env.get("/api/v1/controllers/mc", env.readerToken()).body; r.message != "" && after != before {
					t.Errorf("%s: %s: %s changed the store from %s to %s", via.name, r.operation, r.name, before, after)
				}
			}
		}

		if got := env.listFleet(); len(got) != 2 {
			t.Errorf("controllers = %d, want the two that were registered rightly", len(got))
		}
	})
}

func heartbeatFields(operation string) map[string]any {
	if operation == "FastHeartbeat" {
		return fastHeartbeat()
	}
	return comprehensiveHeartbeat()
}

func withCapacity(fields, other map[string]any) map[string]any {
	return with(fields, "capacity", other["capacity"])
}

// TestAuthentication_EveryRule goes through the contract's table of tokens, on every way to the service.
func TestAuthentication_EveryRule(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		good := env.issuer.token(nil, nil)
		parts := strings.Split(good, ".")
		claim := func(name string, value any) string { return env.issuer.token(nil, map[string]any{name: value}) }
		header := func(name string, value any) string { return env.issuer.token(map[string]any{name: value}, nil) }
		now := time.Now().Unix()

		refused := map[string]string{
			"not Bearer":         "Basic " + good,
			"empty":              "",
			"Bearer and nothing": "Bearer ",
			"8193 bytes":         "Bearer " + tokenOfSize(t, env.issuer, 8193),
			"one part":           "Bearer " + parts[0],
			"two parts":          "Bearer " + parts[0] + "." + parts[1],
			"four parts":         "Bearer " + good + ".x",
			"no kid":             "Bearer " + header("kid", nil),
			"empty kid":          "Bearer " + header("kid", ""),
			"numeric kid":        "Bearer " + header("kid", 1),
			"unknown kid":        "Bearer " + header("kid", "other"),
			"kid with a path":    "Bearer " + header("kid", "../../etc/passwd"),
			"alg none":           "Bearer " + header("alg", "none"),
			"alg HS256":          "Bearer " + header("alg", "HS256"),
			"alg RS256":          "Bearer " + header("alg", "RS256"),
			"bad signature":      "Bearer " + parts[0] + "." + parts[1] + "." + strings.Repeat("A", 86),
			"other claims":       "Bearer " + parts[0] + "." + strings.Split(claim("sub", "other"), ".")[1] + "." + parts[2],
			"expired":            "Bearer " + claim("exp", now-120),
			"future iat":         "Bearer " + claim("iat", now+400),
			"not yet valid":      "Bearer " + claim("nbf", now+400),
			"no exp":             "Bearer " + claim("exp", nil),
			"no iat":             "Bearer " + claim("iat", nil),
			"no sub":             "Bearer " + claim("sub", nil),
		}

		forbidden := map[string]string{
			"no scope":           "Bearer " + claim("scope", nil),
			"a reader":           "Bearer " + claim("scope", "gc:read gc:admin"),
			"a scope's prefix":   "Bearer " + claim("scope", "mc:registers"),
			"other service_type": "Bearer " + claim("service_type", "media-handler"),
			"empty service_type": "Bearer " + claim("service_type", ""),
		}

		taken := map[string]string{
			"bearer in lower case": "bearer " + good,
			"BEARER":               "BEARER " + good,
			"8192 bytes":           "Bearer " + tokenOfSize(t, env.issuer, 8192),
			"expired 30 s ago":     "Bearer " + claim("exp", now-30),
			"iat 4 min ahead":      "Bearer " + claim("iat", now+240),
			"its service_type":     "Bearer " + claim("service_type", "meeting-controller"),
			"the other scope":      "Bearer " + claim("scope", "a service.write.gc b"),
			"scopes as strings":    "Bearer " + env.issuer.token(nil, map[string]any{"scope": nil, "scopes": []string{"mc:register"}}),
			"an audience of whims": "Bearer " + claim("aud", "anybody"),
		}

		check := func(authorization *string, name string, want outcome) {
			t.Helper()

			for _, via := range protocols() {
				for _, c := range []call{
					{"RegisterMC", "mc", registration(), authorization},
					{"FastHeartbeat", "mc", fastHeartbeat(), authorization},
					{"ComprehensiveHeartbeat", "mc", comprehensiveHeartbeat(), authorization},
				} {
					if got := env.send(via, c); got != want {
						t.Errorf("%s: %s with %s = %v, want %v", via.name, c.operation, name, got, want)
					}
				}
			}
		}

		check(env.controllerAuth(), "a good token", outcome{})
		check(nil, "no header", outcome{codes.Unauthenticated, "Invalid token"})

		// First, because one of them will not be taken much longer.
		for name, value := range taken {
			check(&value, name, outcome{})
		}
		for name, value := range refused {
			check(&value, name, outcome{codes.Unauthenticated, "Invalid token"})
		}
		for name, value := range forbidden {
			check(&value, name, outcome{codes.PermissionDenied, "Access denied"})
		}

		// Who is not let in does not learn what is wrong with the input.
		for _, via := range protocols() {
			if got, want := env.send(via, call{"RegisterMC", "a.b", nil, nil}), (outcome{codes.Unauthenticated, "Invalid token"}); got != want {
				t.Errorf("%s: bad input without a token = %v, want %v", via.name, got, want)
			}
		}

		for secret := range strings.SplitSeq(good, ".") {
			if strings.Contains(env.log.String(), secret[max(0, len(secret)-40):]) {
				t.Errorf("the log holds a part of a token")
			}
		}
	})
}

// tokenOfSize makes a good token of exactly so many bytes.
func tokenOfSize(t *testing.T, i *issuer, size int) string {
	t.Helper()
	// Base64 makes four characters of three bytes; a signature takes its time, so the search begins close to its end.
	bare := len(i.token(nil, map[string]any{"padding": ""}))
	for padding := (size-bare)*3/4 - 8; padding < size; padding++ {
		// A kid may not vary, so the header takes up what the base64 of the claims cannot hit.
		for _, typ := range []string{"JWT", "JWTx", "JWTxx"} {
			if token := i.token(map[string]any{"typ": typ}, map[string]any{"padding": strings.Repeat("p", padding)}); len(token) == size {
				return token
			}
		}
	}
	t.Fatalf("no token of %d bytes", size)
	return ""
}

func TestAuthentication_WithoutKeys(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, sqliteURL(t), func(c *daemon.Config) { c.JWKSURL = "http://127.0.0.1:1/jwks.json" })
	env.waitFor("the store is ready", func() bool { return strings.Contains(env.get("/ready", "").body, `"store":"ok"`) })
	for _, via := range protocols() {
		if got, want := env.send(via, call{"FastHeartbeat", "mc", fastHeartbeat(), env.controllerAuth()}), (outcome{codes.Unavailable, "Service temporarily unavailable"}); got != want {
			t.Errorf("%s = %v, want %v", via.name, got, want)
		}
		// What no key could make right needs none.
		if got, want := env.send(via, call{"FastHeartbeat", "mc", fastHeartbeat(), nil}), (outcome{codes.Unauthenticated, "Invalid token"}); got != want {
			t.Errorf("%s without a token = %v, want %v", via.name, got, want)
		}
	}
	if got := env.get("/ready", ""); got.status != http.StatusServiceUnavailable || !strings.Contains(got.body, `"keys":"none"`) {
		t.Errorf("/ready = %d %s, want 503 and no keys", got.status, got.body)
	}
}

// TestRateLimits_ExhaustedCaller: what a subject has used up costs its known controllers nothing.
func TestRateLimits_ExhaustedCaller(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, func(c *daemon.Config) { c.RateLimitPerMinute, c.ControllersPerSubject = 1, 1 }).waitReady()
		limited := outcome{codes.ResourceExhausted, "Rate limit exceeded"}
		full := outcome{codes.ResourceExhausted, "Controller limit reached: this client owns 1 controllers, at most 1 are allowed (GC_MAX_CONTROLLERS_PER_SUBJECT)"}

		for _, via := range protocols() {
			subject := strings.ReplaceAll(via.name, " ", "-")
			mc, other := "Bearer "+env.issuer.token(nil, map[string]any{"sub": subject}), "Bearer "+env.issuer.token(nil, map[string]any{"sub": subject, "scope": "x"})

			steps := []struct {
				name string
				call call
				want outcome
			}{
				{"not allowed", call{"FastHeartbeat", subject, fastHeartbeat(), &other}, outcome{codes.PermissionDenied, "Access denied"}},
				{"not allowed again", call{"FastHeartbeat", subject, fastHeartbeat(), &other}, limited},
				{"not allowed either", call{"RegisterMC", subject, registration(), &other}, limited},
				{"new", call{"RegisterMC", subject, registration(), &mc}, outcome{}},
				{"another new one", call{"RegisterMC", subject + "-2", registration(), &mc}, full},
				{"known", call{"RegisterMC", subject, registration(), &mc}, outcome{}},
				{"heartbeat of a known one", call{"FastHeartbeat", subject, fastHeartbeat(), &mc}, outcome{}},
				{"full heartbeat of a known one", call{"ComprehensiveHeartbeat", subject, comprehensiveHeartbeat(), &mc}, outcome{}},
				{"heartbeat for nobody", call{"FastHeartbeat", subject + "-2", fastHeartbeat(), &mc}, full},
				{"invalid heartbeat", call{"FastHeartbeat", subject, nil, &mc}, outcome{codes.InvalidArgument, "capacity is required"}},
				{"invalid id", call{"RegisterMC", "a.b", registration(), &mc}, outcome{codes.InvalidArgument, "controller_id contains invalid characters"}},
			}

			for _, s := range steps {
				if got := env.send(via, s.call); got != s.want {
					t.Errorf("%s: %s = %v, want %v", via.name, s.name, got, s.want)
				}
			}

			if via.service == "" {
				continue // A path cannot carry what follows.
			}
			for operation, fields := range map[string]map[string]any{"RegisterMC": registration(), "FastHeartbeat": fastHeartbeat(), "ComprehensiveHeartbeat": comprehensiveHeartbeat()} {
				if got, want := env.send(via, call{operation, "\x00", fields, &mc}), (outcome{codes.InvalidArgument, "controller_id contains invalid characters"}); got != want {
					t.Errorf("%s: %s of an id that PostgreSQL cannot hold = %v, want %v", via.name, operation, got, want)
				}
			}
		}
	})
}

func TestFleet_ReadPermissions(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, sqliteURL(t), nil).waitReady()
	fleet := fleetpb.NewFleetServiceClient(env.conn)

	for scope, want := range map[string]struct {
		status int
		code   codes.Code
	}{
		"gc:read": {200, codes.OK}, "gc:admin": {200, codes.OK}, "mc:register": {403, codes.PermissionDenied}, "": {403, codes.PermissionDenied},
	} {
		token := env.issuer.token(nil, map[string]any{"scope": scope})
		if got := env.get("/api/v1/controllers", token); got.status != want.status {
			t.Errorf("list with scope %q = %d, want %d", scope, got.status, want.status)
		}
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
		if _, err := fleet.ListControllers(ctx, &fleetpb.ListControllersRequest{}); status.Code(err) != want.code {
			t.Errorf("ListControllers with scope %q = %v, want %v", scope, err, want.code)
		}
	}

	if got := env.get("/api/v1/controllers/nobody", env.readerToken()); got.status != http.StatusNotFound || !strings.Contains(got.body, "Controller not registered") {
		t.Errorf("one that is not there = %d %s, want 404", got.status, got.body)
	}
}

// TestController_RegistrationAndHeartbeats holds what a meeting controller in the field sees, and what is seen of it.
func TestController_RegistrationAndHeartbeats(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, nil).waitReady()

		for _, via := range protocols()[:2] {
			t.Run(via.name, func(t *testing.T) {
				id := strings.ReplaceAll(via.name, " ", "-")
				if got, want := env.send(via, call{"FastHeartbeat", id, fastHeartbeat(), env.controllerAuth()}), (outcome{codes.NotFound, "Controller not registered"}); got != want {
					t.Errorf("heartbeat before registering = %v, want %v", got, want)
				}
				registered, err := env.invoke(via.service, call{"RegisterMC", id, registration(), env.controllerAuth()})
				want := &pb.RegisterMCResponse{Accepted: true, Message: "Registration successful", FastHeartbeatIntervalMs: 10000, ComprehensiveHeartbeatIntervalMs: 30000}
				if diff := cmp.Diff(want, registered, protocmp.Transform()); err != nil || diff != "" {
					t.Errorf("RegisterMC() = %v; -want +got:\n%s", err, diff)
				}

				if got := env.listFleet()[id].Health; got != "pending" {
					t.Errorf("after registering it is %s, want pending", got)
				}

				for number, word := range map[int]string{0: "pending", 1: "healthy", 2: "degraded", 3: "unhealthy", 4: "draining", 9: "unhealthy"} {
					began := time.Now().Unix()
					answer, err := env.invoke(via.service, call{"ComprehensiveHeartbeat", id, with(comprehensiveHeartbeat(), "health", number), env.controllerAuth()})
					if err != nil {
						t.Fatalf("heartbeat: %v", err)
					}

					ack := answer.(*pb.ComprehensiveHeartbeatResponse)
					if at := int64(ack.GetTimestamp()); !ack.GetAcknowledged() || at < began-1 || at > time.Now().Unix()+1 {
						t.Errorf("heartbeat = %v, want it acknowledged with the time in seconds", ack)
					}
					if got := env.listFleet()[id].Health; got != word {
						t.Errorf("after reporting %d it is %s, want %s", number, got, word)
					}
				}

				shown := env.get("/api/v1/controllers/"+id, env.readerToken())

				for _, part := range []string{
					`"cpu_usage_percent":12.5`, `"memory_usage_percent":50`, `"current_meetings":3`, `"current_participants":30`, `"max_meetings":100`,
					`"region":"eu-west-1"`, `"webtransport_endpoint":"https://mc.example:4433"`,
				} {
					if !strings.Contains(shown.body, part) {
						t.Errorf("shown = %s, want %s in it", shown.body, part)
					}
				}

				if _, err := env.invoke(via.service, call{"RegisterMC", id, registration(), env.controllerAuth()}); err != nil {
					t.Errorf("registering again = %v, want nil", err)
				}
				if got := env.listFleet()[id]; got.Health != "pending" || got.CurrentMeetings != 3 {
					t.Errorf("after registering again it is %+v, want pending with its load", got)
				}
			})
		}

		client := pb.NewGlobalControllerServiceClient(env.conn)
		ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", *env.controllerAuth())
		if got, err := client.NotifyMeetingEnded(ctx, &pb.NotifyMeetingEndedRequest{MeetingId: "m-1", Region: "eu-west-1"}); err != nil || !got.GetAcknowledged() {
			t.Errorf("NotifyMeetingEnded() = %v, %v, want it acknowledged", got, err)
		}

		for request, message := range map[*pb.NotifyMeetingEndedRequest]string{
			{Region: "eu-west-1"}:                                      "meeting_id is required",
			{Region: "eu-west-1", MeetingId: "a b"}:                    "meeting_id contains invalid characters",
			{Region: "eu-west-1", MeetingId: strings.Repeat("m", 256)}: "meeting_id is too long",
		} {
			if _, err := client.NotifyMeetingEnded(ctx, request); status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != message {
				t.Errorf("NotifyMeetingEnded(%v) = %v, want %s", request, err, message)
			}
		}

		older := "/dark_tower.internal.GlobalControllerService/NotifyMeetingEnded"
		if err := env.conn.Invoke(ctx, older, &pb.NotifyMeetingEndedRequest{}, &pb.NotifyMeetingEndedResponse{}); status.Code(err) != codes.Unimplemented {
			t.Errorf("NotifyMeetingEnded by the older name = %v, want Unimplemented", err)
		}
	})
}
