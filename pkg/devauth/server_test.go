package devauth

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func newTestServer(t *testing.T, keyFile string) (*Server, *httptest.Server) {
	t.Helper()
	s, err := New(keyFile, time.Now)
	if err != nil {
		t.Fatalf("New() = %v", err)
	}
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	return s, web
}

func publishedKeys(t *testing.T, web *httptest.Server) []publishedKey {
	t.Helper()
	response, err := http.Get(web.URL + "/.well-known/jwks.json")
	if err != nil {
		t.Fatalf("get keys: %v", err)
	}
	defer func() { _ = response.Body.Close() }()
	var set struct{ Keys []publishedKey }
	if err := json.NewDecoder(response.Body).Decode(&set); err != nil {
		t.Fatalf("read keys: %v", err)
	}
	return set.Keys
}

func TestServer_TokenIsSignedWithPublishedKey(t *testing.T) {
	s, web := newTestServer(t, "")
	token, life, err := fetchToken(t.Context(), web.URL, Clients()[0])
	if err != nil || life != TokenLife {
		t.Fatalf("fetchToken() = %v, %v", life, err)
	}

	parsed, err := jwt.Parse(token, func(*jwt.Token) (any, error) { return publicKey(s.keys[0]), nil })
	if err != nil {
		t.Fatalf("Parse() = %v", err)
	}
	claims := parsed.Claims.(jwt.MapClaims)
	if claims["sub"] != "dev-mc" || claims["scope"] != "mc:register" || claims["service_type"] != "meeting-controller" {
		t.Errorf("claims = %v", claims)
	}

	if got := publishedKeys(t, web); len(got) != 1 || got[0].KeyID != parsed.Header["kid"] || len(got[0].X) != 43 {
		t.Errorf("published = %+v, want the key %v", got, parsed.Header["kid"])
	}
}

func TestServer_RefusesInvalidTokenRequests(t *testing.T) {
	_, web := newTestServer(t, "")
	for body, want := range map[string]int{
		`{`:             400,
		`{"unknown":1}`: 400,
		`{"grant_type":"password","client_id":"dev-mc","client_secret":"dev-mc-secret"}`:                                   400,
		`{"grant_type":"client_credentials","client_id":"dev-mc","client_secret":"wrong"}`:                                 401,
		`{"grant_type":"client_credentials","client_id":"unknown","client_secret":""}`:                                     401,
		`{"grant_type":"client_credentials","client_id":"dev-mc","client_secret":"dev-mc-secret","scope":"gc:admin"}`:      400,
		`{"grant_type":"client_credentials","client_id":"dev-admin","client_secret":"dev-admin-secret","scope":"gc:read"}`: 200,
		`{"grant_type":"` + strings.Repeat("x", 65<<10) + `"}`:                                                             400,
	} {
		response, err := http.Post(web.URL+"/api/v1/auth/service/token", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatalf("post: %v", err)
		}

		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%.80s = %d, want %d", body, response.StatusCode, want)
		}
	}

	for _, client := range []Client{{ID: "unknown"}, {}} {
		if _, _, err := fetchToken(t.Context(), web.URL, client); err == nil {
			t.Errorf("fetchToken(%v) = nil, want an error", client)
		}
	}

	web.Close()
	if _, _, err := fetchToken(t.Context(), web.URL, Clients()[0]); err == nil {
		t.Error("fetchToken(server closed) = nil, want an error")
	}
}

func TestNew_KeepsKeyInFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "data", "key.pem")
	_, first := newTestServer(t, file)
	_, second := newTestServer(t, file)
	if a, b := publishedKeys(t, first)[0].X, publishedKeys(t, second)[0].X; a != b {
		t.Errorf("the second server published %s, want the key of the first, %s", b, a)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file = %v, %v, want mode 0600", info.Mode(), err)
	}

	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(file, time.Now); err == nil {
		t.Error("New(not a key) = nil, want an error")
	}
	if _, err := New(t.TempDir(), time.Now); err == nil {
		t.Error("New(a folder) = nil, want an error")
	}
}

func TestServer_RotateKey(t *testing.T) {
	s, web := newTestServer(t, "")
	if err := s.RotateKey(false); err != nil || len(publishedKeys(t, web)) != 1 {
		t.Errorf("RotateKey(drop) = %v with %d keys, want 1", err, len(publishedKeys(t, web)))
	}
	if err := s.RotateKey(true); err != nil || len(publishedKeys(t, web)) != 2 {
		t.Errorf("RotateKey(keep) = %v with %d keys, want 2", err, len(publishedKeys(t, web)))
	}
	if _, err := s.Token("x", map[string]any{"exp": nil}); err != nil {
		t.Errorf("Token() = %v", err)
	}
}

func TestServer_SetTokenLife(t *testing.T) {
	s, web := newTestServer(t, "")
	s.SetTokenLife(7 * time.Second)
	token, life, err := fetchToken(t.Context(), web.URL, Clients()[0])
	if err != nil || life != 7*time.Second {
		t.Fatalf("fetchToken() = %v, %v, want 7 s", life, err)
	}

	parsed, err := jwt.Parse(token, func(*jwt.Token) (any, error) { return publicKey(s.keys[0]), nil })
	if err != nil {
		t.Fatalf("Parse() = %v", err)
	}

	expires, _ := parsed.Claims.GetExpirationTime()
	if left := time.Until(expires.Time); left > 7*time.Second || left < 5*time.Second {
		t.Errorf("the token lives for %v more, want 7 s", left)
	}
}

func TestSecret_DoesNotPrint(t *testing.T) {
	for _, form := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(form, Clients()); strings.Contains(got, "-secret") {
			t.Errorf("%s prints a secret: %s", form, got)
		}
	}
	if data, err := json.Marshal(Clients()); err != nil || strings.Contains(string(data), "-secret") {
		t.Errorf("JSON = %s, %v", data, err)
	}
}
