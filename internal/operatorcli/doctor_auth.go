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

func (d *doctor) checkAuthController(ctx context.Context) {
	c := d.target.tokens
	if c.url == "" {
		d.found("auth controller", skipped, "", "not needed: the token is given, by %s", c.from)
		return
	}
	url := strings.TrimSuffix(c.url, "/") + "/.well-known/jwks.json"
	code, body, err := d.get(ctx, d.acHTTP, url, clockAC)
	advice := "is its address right (auth.url, --ac), and does it run?"
	if d.target.dev {
		advice = "start the development stack with gcctl dev"
	}
	if err != nil {
		d.found("auth controller", bad, advice, "no keys: %v", err)
		return
	}
	var document struct {
		Keys []struct {
			ID    string `json:"kid"`
			Curve string `json:"crv"`
		} `json:"keys"`
	}
	if code != http.StatusOK || json.Unmarshal(body, &document) != nil {
		d.found("auth controller", bad, advice, "%s is no set of keys (status %d)", url, code)
		return
	}
	d.keys = make(map[string]bool)
	for _, key := range document.Keys {
		if key.Curve == "Ed25519" {
			d.keys[key.ID] = true
		}
	}
	if len(d.keys) == 0 {
		d.found("auth controller", bad, "the auth controller has to publish an Ed25519 key", "%s holds no key that could be used", url)
		return
	}
	d.found("auth controller", fine, "", "%s publishes %s", c.url, counted(int64(len(d.keys)), "key", "keys"))
}

// checkToken tells whether there is one.
func (d *doctor) checkToken(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, d.tool.flags.timeout)
	defer cancel()
	token, err := d.session.token(ctx)
	if err != nil {
		advice := "is the auth controller up? See above"
		if CodeOf(err) == ExitNoAccess {
			advice = "look at client_id, the file of the secret, and scope in the context"
		}
		d.found("token", bad, advice, "%s", withoutAdvice(err))
		return false
	}
	claims, err := readClaims(token)
	if err != nil {
		d.found("token", bad, "a Global Controller takes a JWT of the auth controller and nothing else", "%v", err)
		return false
	}
	scopes := claims.scopes()
	told := fmt.Sprintf("for %s, scopes %s, ends %s", dash(claims.Subject), dash(strings.Join(scopes, " ")), claims.ExpiresAt.words(d.tool.Now()))
	switch {
	case d.keys != nil && !d.keys[claims.keyID]:
		d.found("token", bad, "does the token come from another auth controller?", "%s; the auth controller does not publish the key %q that signed it", told, claims.keyID)
	case !slices.Contains(scopes, "gc:read") && !slices.Contains(scopes, "gc:admin"):
		d.found("token", bad, "have the client be given the scope gc:read, and gc:admin for changes", "%s: it may not read the fleet", told)
	case !slices.Contains(scopes, "gc:admin"):
		d.found("token", fine, "", "%s: it may read, and change nothing", told)
	default:
		d.found("token", fine, "", "%s", told)
	}
	return true
}

// checkAccess tells whether the Global Controller takes the token.
func (d *doctor) checkAccess(ctx context.Context) bool {
	before := d.tool.Now()
	got, err := once(ctx, d.session, &pb.ListControllersRequest{PageSize: 1}, d.session.fleet.ListControllers)
	switch status.Code(err) {
	case codes.OK:
		for _, c := range got.GetControllers() {
			if c.GetAsOf() != nil {
				d.clocks[clockStore] = readingOf(c.GetAsOf().AsTime(), before, d.tool.Now(), 0)
			}
		}
		d.found("access", fine, "", "the Global Controller takes the token")
		return true
	case codes.Unauthenticated:
		d.found("access", bad, "does AC_JWKS_URL there name this auth controller? Does JWT_AUDIENCE fit? Are the clocks right (see below)?", "the Global Controller refuses the token as invalid")
	case codes.PermissionDenied:
		d.found("access", bad, "have the client be given the scope gc:read", "the token is valid, and may not read the fleet")
	default:
		d.found("access", bad, "the log of the Global Controller says more", "the fleet cannot be read: %s", status.Convert(err).Message())
	}
	return false
}
