// Package devauth is an auth controller for development and tests. It publishes a key and issues tokens to a few well-known
// clients. It is not for production: their secrets are in this file, so every reader of it can get a token. Serve it on a
// loopback address only.
package devauth

import (
	"crypto/ed25519"
	"crypto/sha256"
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
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// TokenLife is the default lifetime of a token. Its claims and [Server.SetTokenLife] can set another.
const TokenLife = time.Hour

// Secret is a client's secret. It prints as REDACTED with every verb and encoding.
type Secret string

// String implements [fmt.Stringer].
func (Secret) String() string { return "REDACTED" }

// GoString implements [fmt.GoStringer].
func (Secret) GoString() string { return "REDACTED" }

// MarshalText implements [encoding.TextMarshaler].
func (Secret) MarshalText() ([]byte, error) { return []byte("REDACTED"), nil }

// Client is an OAuth client.
type Client struct {
	ID          string
	Secret      Secret
	Scopes      []string
	ServiceType string
}

// Clients returns the clients that a [Server] accepts.
//
//nolint:gosec // The secrets are public: the server is for development only.
func Clients() []Client {
	return []Client{
		{ID: "dev-mc", Secret: "dev-mc-secret", Scopes: []string{"mc:register"}, ServiceType: "meeting-controller"},
		{ID: "dev-reader", Secret: "dev-reader-secret", Scopes: []string{"gc:read"}},
		{ID: "dev-admin", Secret: "dev-admin-secret", Scopes: []string{"gc:read", "gc:admin"}},
	}
}

// Server is the auth controller.
type Server struct {
	now     func() time.Time
	clients []Client
	mux     *http.ServeMux

	mu sync.RWMutex
	// keys are published. The last one signs.
	keys []ed25519.PrivateKey
	life time.Duration
}

// New returns an auth controller. It keeps its key in keyFile, which it creates if the file does not exist. If the name is
// empty, the key is in memory only. The function now is the clock.
func New(keyFile string, now func() time.Time) (*Server, error) {
	key, err := loadKey(keyFile)
	if err != nil {
		return nil, err
	}

	s := &Server{
		now:     now,
		clients: Clients(),
		mux:     http.NewServeMux(),
		keys:    []ed25519.PrivateKey{key},
		life:    TokenLife,
	}
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
		return nil, fmt.Errorf("create key: %w", err)
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

// RotateKey creates a key, which signs from now on. The older keys remain published if keepOld is true.
func (s *Server) RotateKey(keepOld bool) error {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return fmt.Errorf("create key: %w", err)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if !keepOld {
		s.keys = nil
	}
	s.keys = append(s.keys, key)
	return nil
}

// SetTokenLife sets the lifetime of the tokens that are signed from now on, a whole number of seconds.
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

// Token signs a token for the subject. The claims replace the default ones; nil removes a claim.
func (s *Server) Token(sub string, claims map[string]any) (string, error) {
	now := s.now()
	merged := jwt.MapClaims{"sub": sub, "iat": now.Unix(), "exp": now.Add(s.tokenLife()).Unix()}
	maps.Copy(merged, claims)
	maps.DeleteFunc(merged, func(_ string, value any) bool { return value == nil })

	s.mu.RLock()
	key := s.keys[len(s.keys)-1]
	s.mu.RUnlock()
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, merged)
	token.Header["kid"] = keyID(publicKey(key))
	signed, err := token.SignedString(key)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return signed, nil
}

func publicKey(key ed25519.PrivateKey) ed25519.PublicKey {
	return key.Public().(ed25519.PublicKey) //nolint:forcetypeassert // The documentation of Public guarantees the type.
}

// keyID returns the key's thumbprint as RFC 7638 defines it.
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
		public := publicKey(key)
		published = append(published, publishedKey{
			KeyID:     keyID(public),
			KeyType:   "OKP",
			Curve:     "Ed25519",
			X:         base64.RawURLEncoding.EncodeToString(public),
			Use:       "sig",
			Algorithm: "EdDSA",
		})
	}
	writeJSON(w, http.StatusOK, map[string]any{"keys": published})
}

func writeError(w http.ResponseWriter, status int, code string) {
	writeJSON(w, status, map[string]string{"error": code})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// An error means that the client has closed the connection.
	_ = json.NewEncoder(w).Encode(body)
}
