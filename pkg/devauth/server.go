// Package devauth is an auth controller for development and tests: it publishes a key and gives out tokens to a few
// well-known clients. It is not fit for production, where anybody who reads this file could get a token; serve it on
// a loopback address only.
package devauth

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// TokenLife is how long a token lives unless its claims or [Server.SetTokenLife] say otherwise.
const TokenLife = time.Hour

// Secret is a client's secret. It prints as a word, whatever it is printed with.
type Secret string

// String implements [fmt.Stringer].
func (Secret) String() string { return "REDACTED" }

// GoString implements [fmt.GoStringer].
func (Secret) GoString() string { return "REDACTED" }

// MarshalText implements [encoding.TextMarshaler].
func (Secret) MarshalText() ([]byte, error) { return []byte("REDACTED"), nil }

// Client may ask for tokens.
type Client struct {
	ID          string
	Secret      Secret
	Scopes      []string
	ServiceType string
}

// Clients are the clients that are known unless others are configured.
func Clients() []Client {
	return []Client{
		{"dev-mc", "dev-mc-secret", []string{"mc:register"}, "meeting-controller"},
		{"dev-reader", "dev-reader-secret", []string{"gc:read"}, ""},
		{"dev-admin", "dev-admin-secret", []string{"gc:read", "gc:admin"}, ""},
	}
}

// Server is the auth controller.
type Server struct {
	now     func() time.Time
	clients []Client
	mux     *http.ServeMux
	mu      sync.RWMutex
	// keys are published; the last one signs.
	keys []ed25519.PrivateKey
	life time.Duration
}

// New returns an auth controller. Its key is kept in keyFile, which is made when it is missing; an empty name keeps
// it in memory. now is the clock.
func New(keyFile string, now func() time.Time) (*Server, error) {
	key, err := loadKey(keyFile)
	if err != nil {
		return nil, err
	}
	s := &Server{now: now, clients: Clients(), mux: http.NewServeMux(), keys: []ed25519.PrivateKey{key}, life: TokenLife}
	s.mux.HandleFunc("GET /.well-known/jwks.json", s.serveKeys)
	s.mux.HandleFunc("POST /api/v1/auth/service/token", s.serveToken)
	return s, nil
}

func loadKey(file string) (ed25519.PrivateKey, error) {
	if file != "" {
		data, err := os.ReadFile(file)
		if err == nil {
			return parseKey(data)
		}
		if !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("read key: %w", err)
		}
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	if file == "" {
		return key, nil
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("write key: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, fmt.Errorf("write key: %w", err)
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return nil, fmt.Errorf("write key: %w", err)
	}
	return key, nil
}

func parseKey(data []byte) (ed25519.PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("read key: not a PEM file")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("read key: not a PKCS #8 key")
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, errors.New("read key: not an Ed25519 key")
	}
	return key, nil
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Rotate makes a new key that signs from now on. The older ones stay published while keepOld is true.
func (s *Server) Rotate(keepOld bool) error {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return fmt.Errorf("make key: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !keepOld {
		s.keys = nil
	}
	s.keys = append(s.keys, key)
	return nil
}

// SetTokenLife has the tokens that are signed from now on live for d, which is a whole number of seconds.
func (s *Server) SetTokenLife(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.life = d
}

func (s *Server) tokenLife() time.Duration {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.life
}

// Token signs a token for sub with the given claims, which replace the usual ones; nil removes one.
func (s *Server) Token(sub string, claims map[string]any) (string, error) {
	now := s.now()
	all := jwt.MapClaims{"sub": sub, "iat": now.Unix(), "exp": now.Add(s.tokenLife()).Unix()}
	maps.Copy(all, claims)
	maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	s.mu.RLock()
	key := s.keys[len(s.keys)-1]
	s.mu.RUnlock()
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, all)
	token.Header["kid"] = keyID(publicOf(key))
	signed, err := token.SignedString(key)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return signed, nil
}

func publicOf(key ed25519.PrivateKey) ed25519.PublicKey {
	return key.Public().(ed25519.PublicKey) //nolint:forcetypeassert // By its documentation.
}

// keyID is the key's thumbprint by RFC 7638.
func keyID(key ed25519.PublicKey) string {
	digest := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + base64.RawURLEncoding.EncodeToString(key) + `"}`))
	return base64.RawURLEncoding.EncodeToString(digest[:])
}

type publishedKey struct {
	KeyID     string `json:"kid"`
	KeyType   string `json:"kty"`
	Curve     string `json:"crv"`
	X         string `json:"x"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
}

func (s *Server) serveKeys(w http.ResponseWriter, _ *http.Request) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	published := make([]publishedKey, 0, len(s.keys))
	for _, key := range s.keys {
		public := publicOf(key)
		published = append(published, publishedKey{keyID(public), "OKP", "Ed25519", base64.RawURLEncoding.EncodeToString(public), "sig", "EdDSA"})
	}
	answer(w, http.StatusOK, map[string]any{"keys": published})
}

// tokenRequest and tokenAnswer are the auth controller's token endpoint.
type tokenRequest struct {
	GrantType    string `json:"grant_type"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	Scope        string `json:"scope,omitempty"`
}

type tokenAnswer struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"`
	Scope       string `json:"scope"`
}

func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
	decoder.DisallowUnknownFields()
	var request tokenRequest
	if err := decoder.Decode(&request); err != nil {
		refuse(w, http.StatusBadRequest, "invalid_request")
		return
	}
	if request.GrantType != "client_credentials" {
		refuse(w, http.StatusBadRequest, "unsupported_grant_type")
		return
	}
	known := slices.IndexFunc(s.clients, func(c Client) bool {
		return c.ID == request.ClientID && subtle.ConstantTimeCompare([]byte(c.Secret), []byte(request.ClientSecret)) == 1
	})
	if known < 0 {
		refuse(w, http.StatusUnauthorized, "invalid_client")
		return
	}
	client := s.clients[known]
	scopes := client.Scopes
	if request.Scope != "" {
		scopes = strings.Fields(request.Scope)
		for _, scope := range scopes {
			if !slices.Contains(client.Scopes, scope) {
				refuse(w, http.StatusBadRequest, "invalid_scope")
				return
			}
		}
	}
	claims := map[string]any{"scope": strings.Join(scopes, " ")}
	if client.ServiceType != "" {
		claims["service_type"] = client.ServiceType
	}
	life := s.tokenLife()
	claims["exp"] = s.now().Add(life).Unix()
	token, err := s.Token(client.ID, claims)
	if err != nil {
		refuse(w, http.StatusInternalServerError, "server_error")
		return
	}
	answer(w, http.StatusOK, tokenAnswer{token, "Bearer", int64(life.Seconds()), strings.Join(scopes, " ")})
}

func refuse(w http.ResponseWriter, status int, code string) {
	answer(w, status, map[string]string{"error": code})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// A client that has gone away needs no answer.
	_ = json.NewEncoder(w).Encode(body)
}
