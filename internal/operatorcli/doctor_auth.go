package operatorcli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// checkAuthController reads the published keys of the auth controller.
func (d *doctor) checkAuthController(ctx context.Context) {
	const check = "auth controller"
	from := d.target.credentials
	if from.acURL == "" {
		d.report(check, resultSkipped, "", "not needed: the token is set by %s", from.origin)
		return
	}
	advice := "check its address (auth.url or --ac), and that it runs"
	if d.target.isDevStack {
		advice = "start the development stack with gcctl dev"
	}

	url := strings.TrimSuffix(from.acURL, "/") + "/.well-known/jwks.json"
	code, body, err := d.getHTTP(ctx, d.acHTTP, url, clockAC)
	if err != nil {
		d.report(check, resultFail, advice, "cannot read its keys: %v", err)
		return
	}

	var document struct {
		Keys []struct {
			ID    string `json:"kid"`
			Curve string `json:"crv"`
		} `json:"keys"`
	}
	if code != http.StatusOK || json.Unmarshal(body, &document) != nil {
		d.report(check, resultFail, advice, "%s returned no key set (status %d)", url, code)
		return
	}

	d.keyIDs = make(map[string]bool)
	for _, key := range document.Keys {
		if key.Curve == "Ed25519" {
			d.keyIDs[key.ID] = true
		}
	}
	if len(d.keyIDs) == 0 {
		d.report(check, resultFail, "publish an Ed25519 key on the auth controller", "%s has no usable key", url)
		return
	}
	d.report(check, resultOK, "", "%s publishes %s", from.acURL, formatCount(int64(len(d.keyIDs)), "key", "keys"))
}

// checkToken reports whether there is a token that may be accepted.
func (d *doctor) checkToken(ctx context.Context) bool {
	const check = "token"
	ctx, cancel := context.WithTimeout(ctx, d.cli.flags.timeout)
	defer cancel()

	token, err := d.conn.token(ctx)
	if err != nil {
		advice := "see the check of the auth controller above"
		if ExitCodeOf(err) == ExitNoAccess {
			advice = "check client_id, client_secret_file and scope in the context"
		}
		d.report(check, resultFail, advice, "%s", withoutAdvice(err))
		return false
	}

	claims, err := parseClaims(token)
	if err != nil {
		d.report(check, resultFail, "use a token of the auth controller: a Global Controller accepts JWTs only", "%v", err)
		return false
	}

	scopes := claims.allScopes()
	description := fmt.Sprintf("for %s, scopes %s, expires %s",
		orDash(claims.Subject), orDash(strings.Join(scopes, " ")), claims.ExpiresAt.describe(d.cli.Now()))
	canChange := slices.Contains(scopes, scopeAdmin)
	canRead := canChange || slices.Contains(scopes, scopeRead)

	switch {
	case d.keyIDs != nil && !d.keyIDs[claims.keyID]:
		d.report(check, resultFail, "check whether the token is from another auth controller",
			"%s; the auth controller does not publish its key %q", description, claims.keyID)
	case !canRead:
		d.report(check, resultFail, "grant the client the scope gc:read, and gc:admin for changes", "%s: it cannot read the fleet", description)
	case !canChange:
		d.report(check, resultOK, "", "%s: it can read, but not change anything", description)
	default:
		d.report(check, resultOK, "", "%s", description)
	}
	return true
}

// checkAccess reports whether the Global Controller accepts the token.
func (d *doctor) checkAccess(ctx context.Context) bool {
	const check = "access"
	sent := d.cli.Now()
	response, err := invoke(ctx, d.conn, &pb.ListControllersRequest{PageSize: 1}, d.conn.fleet.ListControllers)

	switch status.Code(err) {
	case codes.OK:
		for _, c := range response.GetControllers() {
			if c.GetAsOf() != nil {
				d.clocks[clockStore] = measureOffset(c.GetAsOf().AsTime(), sent, d.cli.Now(), 0)
			}
		}
		d.report(check, resultOK, "", "the Global Controller accepts the token")
		return true
	case codes.Unauthenticated:
		d.report(check, resultFail,
			"on the server, check AC_JWKS_URL and JWT_AUDIENCE against this auth controller; see the check of the clocks below",
			"the Global Controller rejects the token as invalid")
	case codes.PermissionDenied:
		d.report(check, resultFail, "grant the client the scope gc:read", "the token is valid, but cannot read the fleet")
	default:
		d.report(check, resultFail, adviceServerLog, "cannot read the fleet: %s", status.Convert(err).Message())
	}
	return false
}
