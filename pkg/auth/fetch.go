package auth

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

const (
	maxDocumentBytes = 1 << 20
	fetchTimeout     = 5 * time.Second
)

// keyFetch is a fetch that callers wait for.
type keyFetch struct {
	done chan struct{}
	err  error // Set before done is closed.
}

// waitForFetch waits for the fetch that is under way. If there is none, it starts one if isAllowed returns true.
func (k *KeySet) waitForFetch(ctx context.Context, isAllowed func() bool) error {
	f := k.joinFetch(isAllowed)
	if f == nil {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-f.done:
		return f.err
	}
}

// joinFetch returns the fetch that is under way. If there is none, it starts one if isAllowed returns true, or else returns
// nil.
func (k *KeySet) joinFetch(isAllowed func() bool) *keyFetch {
	k.mu.Lock()
	defer k.mu.Unlock()

	if k.currentFetch == nil && isAllowed() {
		k.currentFetch = &keyFetch{done: make(chan struct{})}
		go k.runFetch(k.currentFetch)
	}
	return k.currentFetch
}

// runFetch fetches the keys for all callers that wait, so it has its own timeout and not the context of one of them.
func (k *KeySet) runFetch(f *keyFetch) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()

	keys, err := k.fetchKeys(ctx)
	if err != nil {
		k.isFetchFailed.Store(true)
		k.onRefresh("error")
	} else {
		k.droppedKeys.update(*k.keys.Load(), keys)
		k.keys.Store(&keys)
		k.isFetchFailed.Store(false)
		k.unverifiable.clear()
		k.onRefresh("ok")
	}

	k.mu.Lock()
	k.currentFetch = nil
	f.err = err
	k.mu.Unlock()
	close(f.done)
}

func (k *KeySet) fetchKeys(ctx context.Context) (map[string]ed25519.PublicKey, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return nil, errors.New("the address of the keys is not a URL")
	}

	began := time.Now()
	response, err := k.httpClient.Do(request)
	took := time.Since(began)
	if err != nil {
		return nil, fmt.Errorf("fetch keys: %w", errors.Unwrap(err)) // Without the address, which may contain a password.
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch keys: status %d", response.StatusCode)
	}

	document, err := io.ReadAll(io.LimitReader(response.Body, maxDocumentBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	if len(document) > maxDocumentBytes {
		return nil, fmt.Errorf("read keys: more than %d bytes", maxDocumentBytes)
	}

	k.reportDate(response.Header, took)
	return parseKeys(document)
}

// reportDate calls onDate with the time of a response. The Date header has whole seconds, and a cache adds the age of the
// response.
func (k *KeySet) reportDate(header http.Header, took time.Duration) {
	date, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		return
	}
	if age, err := strconv.Atoi(header.Get("Age")); err == nil && age > 0 {
		date = date.Add(time.Duration(min(age, 1<<31-1)) * time.Second)
	}
	uncertainty := time.Second/2 + took/2
	k.onDate(date.Add(uncertainty), uncertainty)
}

// parseKeys reads a JWKS document, which must have a usable key. It skips a key that is not an Ed25519 signing key. If two
// keys with one id differ, it skips both, because the id does not identify one.
func parseKeys(document []byte) (map[string]ed25519.PublicKey, error) {
	var set struct {
		Keys *[]json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(document, &set); err != nil || set.Keys == nil {
		return nil, errors.New("read keys: not a key set")
	}

	keys := make(map[string]ed25519.PublicKey)
	ambiguous := make(map[string]bool)
	for _, raw := range *set.Keys {
		kid, key, ok := parseKey(raw)
		if !ok {
			continue
		}
		if other, ok := keys[kid]; ok && !other.Equal(key) {
			ambiguous[kid] = true
		}
		keys[kid] = key
	}

	for kid := range ambiguous {
		delete(keys, kid)
	}
	if len(keys) == 0 {
		return nil, errors.New("read keys: no usable key in the key set")
	}
	return keys, nil
}

// parseKey reads one key of a JWKS document. ok is false if it is not an Ed25519 signing key.
func parseKey(raw json.RawMessage) (kid string, key ed25519.PublicKey, ok bool) {
	var jwk struct{ Kid, Kty, Crv, X, Use, Alg string }
	if err := json.Unmarshal(raw, &jwk); err != nil {
		return "", nil, false
	}
	if jwk.Kid == "" || jwk.Kty != "OKP" || jwk.Crv != "Ed25519" || jwk.Use != "sig" || jwk.Alg != "EdDSA" {
		return "", nil, false
	}

	x, err := base64.RawURLEncoding.Strict().DecodeString(jwk.X)
	// The decoder skips line breaks; the comparison of the lengths finds them.
	if err != nil || len(x) != ed25519.PublicKeySize || len(jwk.X) != base64.RawURLEncoding.EncodedLen(len(x)) {
		return "", nil, false
	}
	return jwk.Kid, x, true
}
