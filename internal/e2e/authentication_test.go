package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"darktower.example/global-controller/internal/daemon"
	fleetpb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// TestAuthentication_EveryRule checks every rule about tokens over every protocol.
func TestAuthentication_EveryRule(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		valid := env.issuer.token(nil, nil)
		env.checkAuthorization("a valid token", new("Bearer "+valid), outcome{})
		env.checkAuthorization("no header", nil, invalidToken)

		// The accepted ones come first, because one of them expires soon.
		for name, value := range env.acceptedAuthorizations(valid) {
			env.checkAuthorization(name, &value, outcome{})
		}
		for name, value := range env.invalidAuthorizations(valid) {
			env.checkAuthorization(name, &value, invalidToken)
		}
		for name, value := range env.forbiddenAuthorizations() {
			env.checkAuthorization(name, &value, outcome{codes.PermissionDenied, "Access denied"})
		}

		// A caller without a valid token does not learn what is wrong with the input.
		for _, via := range protocols() {
			if got := env.send(via, call{"RegisterMC", "a.b", nil, nil}); got != invalidToken {
				t.Errorf("%s: invalid input without a token = %v, want %v", via.name, got, invalidToken)
			}
		}

		for part := range strings.SplitSeq(valid, ".") {
			if strings.Contains(env.log.String(), part[max(0, len(part)-40):]) {
				t.Errorf("the log contains a part of a token")
			}
		}
	})
}

// checkAuthorization checks the outcome of every controller's call with an authorization, over every protocol.
func (env *environment) checkAuthorization(name string, authorization *string, want outcome) {
	env.t.Helper()
	for _, via := range protocols() {
		for _, operation := range []string{"RegisterMC", "FastHeartbeat", "ComprehensiveHeartbeat"} {
			if got := env.send(via, call{operation, "mc", validFields(operation), authorization}); got != want {
				env.t.Errorf("%s: %s with %s = %v, want %v", via.name, operation, name, got, want)
			}
		}
	}
}

// bearerWithClaim returns an authorization whose token has one claim replaced, or removed if value is nil.
func (env *environment) bearerWithClaim(name string, value any) string {
	return "Bearer " + env.issuer.token(nil, map[string]any{name: value})
}

func (env *environment) acceptedAuthorizations(valid string) map[string]string {
	claim, now := env.bearerWithClaim, time.Now().Unix()
	return map[string]string{
		"bearer in lower case": "bearer " + valid,
		"BEARER":               "BEARER " + valid,
		"8192 bytes":           "Bearer " + tokenOfSize(env.t, env.issuer, 8192),
		"expired 30 s ago":     claim("exp", now-30),
		"iat 4 min ahead":      claim("iat", now+240),
		"its service_type":     claim("service_type", "meeting-controller"),
		"the other scope":      claim("scope", "a service.write.gc b"),
		"scopes as strings":    "Bearer " + env.issuer.token(nil, map[string]any{"scope": nil, "scopes": []string{"mc:register"}}),
		"any audience":         claim("aud", "another-service"),
	}
}

func (env *environment) invalidAuthorizations(valid string) map[string]string {
	claim, now := env.bearerWithClaim, time.Now().Unix()
	header := func(name string, value any) string {
		return "Bearer " + env.issuer.token(map[string]any{name: value}, nil)
	}
	parts := strings.Split(valid, ".")
	otherClaims := strings.Split(claim("sub", "other"), ".")[1]

	return map[string]string{
		"not Bearer":         "Basic " + valid,
		"empty":              "",
		"Bearer and nothing": "Bearer ",
		"8193 bytes":         "Bearer " + tokenOfSize(env.t, env.issuer, 8193),
		"one part":           "Bearer " + parts[0],
		"two parts":          "Bearer " + parts[0] + "." + parts[1],
		"four parts":         "Bearer " + valid + ".x",
		"no kid":             header("kid", nil),
		"empty kid":          header("kid", ""),
		"numeric kid":        header("kid", 1),
		"unknown kid":        header("kid", "other"),
		"kid with a path":    header("kid", "../../etc/passwd"),
		"alg none":           header("alg", "none"),
		"alg HS256":          header("alg", "HS256"),
		"alg RS256":          header("alg", "RS256"),
		"invalid signature":  "Bearer " + parts[0] + "." + parts[1] + "." + strings.Repeat("A", 86),
		"other claims":       "Bearer " + parts[0] + "." + otherClaims + "." + parts[2],
		"expired":            claim("exp", now-120),
		"future iat":         claim("iat", now+400),
		"not yet valid":      claim("nbf", now+400),
		"no exp":             claim("exp", nil),
		"no iat":             claim("iat", nil),
		"no sub":             claim("sub", nil),
	}
}

func (env *environment) forbiddenAuthorizations() map[string]string {
	return map[string]string{
		"no scope":           env.bearerWithClaim("scope", nil),
		"a reader":           env.bearerWithClaim("scope", "gc:read gc:admin"),
		"a scope's prefix":   env.bearerWithClaim("scope", "mc:registers"),
		"other service_type": env.bearerWithClaim("service_type", "media-handler"),
		"empty service_type": env.bearerWithClaim("service_type", ""),
	}
}

// tokenOfSize returns a valid token of a number of bytes.
func tokenOfSize(t *testing.T, i *issuer, size int) string {
	t.Helper()

	// Base64 makes four characters of three bytes. A signature takes time, so the search begins close to its end.
	bare := len(i.token(nil, map[string]any{"padding": ""}))
	for padding := (size-bare)*3/4 - 8; padding < size; padding++ {
		claims := map[string]any{"padding": strings.Repeat("p", padding)}
		// The kid must not vary, so another field of the header makes up for the sizes that the base64 of the claims skips.
		for _, typ := range []string{"JWT", "JWTx", "JWTxx"} {
			if token := i.token(map[string]any{"typ": typ}, claims); len(token) == size {
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
		if got := env.send(via, call{"FastHeartbeat", "mc", fastHeartbeat(), env.controllerAuth()}); got != unavailable {
			t.Errorf("%s = %v, want %v", via.name, got, unavailable)
		}
		// Without a token, no key is needed to refuse the call.
		if got := env.send(via, call{"FastHeartbeat", "mc", fastHeartbeat(), nil}); got != invalidToken {
			t.Errorf("%s without a token = %v, want %v", via.name, got, invalidToken)
		}
	}
	if got := env.get("/ready", ""); !got.is(http.StatusServiceUnavailable, `"keys":"none"`) {
		t.Errorf("/ready = %v, want 503 and no keys", got)
	}
}

func TestFleet_ReadPermissions(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, sqliteURL(t), nil).waitReady()
	fleet := fleetpb.NewFleetServiceClient(env.conn)

	for scope, want := range map[string]struct {
		status int
		code   codes.Code
	}{
		"gc:read":     {200, codes.OK},
		"gc:admin":    {200, codes.OK},
		"mc:register": {403, codes.PermissionDenied},
		"":            {403, codes.PermissionDenied},
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

	if got := env.get("/api/v1/controllers/unknown", env.readerToken()); !got.is(http.StatusNotFound, "Controller not registered") {
		t.Errorf("an unknown controller = %v, want 404", got)
	}
}
