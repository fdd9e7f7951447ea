package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-kit/log"
)

// lockedBuffer is a buffer for concurrent writers.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *lockedBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *lockedBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestSecret_IsNeverPrinted(t *testing.T) {
	t.Parallel()
	secret := Secret(testSecret)
	source, err := NewTokenSource(TokenConfig{URL: "http://ac", ClientID: "mc", ClientSecret: secret})
	if err != nil {
		t.Fatal(err)
	}

	source.token = sealSecret(testSecret)
	static := StaticToken(testSecret)
	cfg := testConfig("127.0.0.1:1")
	cfg.Tokens = source
	client, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}

	var printed bytes.Buffer
	for _, v := range []any{
		secret, &secret,
		TokenConfig{ClientSecret: secret},
		source, static,
		client, client.cfg, cfg,
		struct{ S Secret }{secret},
		[]Secret{secret},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%t"} {
			fmt.Fprintf(&printed, verb+"\n", v)
		}
	}

	for _, v := range []any{secret, &secret, struct{ S Secret }{secret}} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Errorf("Marshal() = %v", err)
		}

		printed.Write(text)
		slog.New(slog.NewTextHandler(&printed, nil)).Info("msg", "v", v)
		slog.New(slog.NewJSONHandler(&printed, nil)).Info("msg", "v", v)
		_ = log.NewLogfmtLogger(&printed).Log("v", v)
		_ = log.NewJSONLogger(&printed).Log("v", v)
	}

	hex := fmt.Sprintf("%x", testSecret)
	text := printed.String()
	if strings.Contains(text, testSecret) || strings.Contains(strings.ToLower(text), hex) || !strings.Contains(text, redacted) {
		hasNoSecret := func(line string) bool { return !strings.Contains(line, testSecret) }
		t.Errorf("the secret is printed: %s", slices.DeleteFunc(strings.Split(text, "\n"), hasNoSecret))
	}
	if secret.String() != redacted || secret.GoString() != redacted {
		t.Errorf("String() = %s, GoString() = %s, want %s", secret.String(), secret.GoString(), redacted)
	}
}
