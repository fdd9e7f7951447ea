package e2e

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

const issuerKeyID = "key-1"

// issuer is an auth controller that signs the tokens that a test requests.
type issuer struct {
	key    ed25519.PrivateKey
	server *httptest.Server
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{key: newKey(t)}
	i.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"keys":[%s]}`, publicJWK(issuerKeyID, i.key))
	}))
	t.Cleanup(i.server.Close)
	return i
}

func newKey(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatalf("make key: %v", err)
	}
	return key
}

// publicJWK returns the public part of a key as an element of a JWKS document.
func publicJWK(kid string, key ed25519.PrivateKey) string {
	x := base64.RawURLEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
	return fmt.Sprintf(`{"kid":%q,"kty":"OKP","crv":"Ed25519","use":"sig","alg":"EdDSA","x":%q}`, kid, x)
}

// token returns a signed token. header and claims replace the default ones; nil removes one.
func (i *issuer) token(header, claims map[string]any) string {
	h := map[string]any{"alg": "EdDSA", "typ": "JWT", "kid": issuerKeyID}
	c := map[string]any{"sub": "client-1", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(), "scope": "mc:register"}
	text := encodeSegment(h, header) + "." + encodeSegment(c, claims)
	return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(i.key, []byte(text)))
}

func encodeSegment(defaults, replacements map[string]any) string {
	maps.Copy(defaults, replacements)
	maps.DeleteFunc(defaults, func(_ string, v any) bool { return v == nil })
	data, err := json.Marshal(defaults)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

// rotatingIssuer is an auth controller whose keys change and that can become unreachable.
type rotatingIssuer struct {
	*issuer
	keys map[string]ed25519.PrivateKey // by their ids

	mu            sync.Mutex
	published     []string // ids
	isUnreachable bool
}

func newRotatingIssuer(t *testing.T) *rotatingIssuer {
	t.Helper()
	r := &rotatingIssuer{
		issuer:    &issuer{},
		keys:      map[string]ed25519.PrivateKey{"old": newKey(t), "new": newKey(t)},
		published: []string{"old"},
	}

	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.isUnreachable {
			http.Error(w, "", http.StatusBadGateway)
			return
		}

		var keys []string
		for _, kid := range r.published {
			keys = append(keys, publicJWK(kid, r.keys[kid]))
		}
		_, _ = fmt.Fprintf(w, `{"keys":[%s]}`, strings.Join(keys, ","))
	}))

	t.Cleanup(r.server.Close)
	return r
}

func (r *rotatingIssuer) publish(kids ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.published = kids
}

func (r *rotatingIssuer) setUnreachable(isUnreachable bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.isUnreachable = isUnreachable
}

// sign returns the authorization of a meeting controller, signed with the key of that id.
func (r *rotatingIssuer) sign(kid string, claims map[string]any) *string {
	value := "Bearer " + (&issuer{key: r.keys[kid]}).token(map[string]any{"kid": kid}, claims)
	return &value
}
