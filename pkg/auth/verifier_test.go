package auth

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/time/rate"

	"darktower.example/global-controller/service"
)

var testNow = time.Unix(1_800_000_000, 0)

func privateKeyFromSeed(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(seed)), 32)))
}

func signToken(key ed25519.PrivateKey, header, payload string) string {
	signed := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	return signed + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, []byte(signed)))
}

// bearerHeader returns an authorization header with a token that is signed with the key of the seed.
func bearerHeader(seed byte, header, payload string) []string {
	return []string{"Bearer " + signToken(privateKeyFromSeed(seed), header, payload)}
}

const (
	goodHeader  = `{"alg":"EdDSA","kid":"k1"}`
	goodPayload = `{"sub":"client","iat":1800000000,"exp":1800003600,"scope":"mc:register x","scopes":["y"],` +
		`"service_type":"meeting-controller"}`
)

func newTestVerifier(t testing.TB, audience string, now *time.Time) (*Verifier, *fakeController) {
	t.Helper()
	ac := startController(t, keyDocument(jwkFromSeed("k1", 'a')))
	keys := newTestKeySet(ac.URL)
	if err := keys.Refresh(t.Context()); err != nil {
		t.Fatalf("Refresh() = %v", err)
	}

	v, err := NewVerifier(VerifierConfig{
		Keys:      keys,
		Audience:  audience,
		ClockSkew: 300 * time.Second,
		Now:       func() time.Time { return *now },
	})
	if err != nil {
		t.Fatalf("NewVerifier() = %v", err)
	}
	return v, ac
}

func payloadWith(replace, by string) string { return strings.Replace(goodPayload, replace, by, 1) }

func TestVerifier_HostileTokens(t *testing.T) {
	key, public := privateKeyFromSeed('a'), privateKeyFromSeed('a').Public().(ed25519.PublicKey)
	hmacToken := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "client", "iat": 1800000000, "exp": 1800003600})
	hmacToken.Header["kid"] = "k1"
	hs256, err := hmacToken.SignedString([]byte(public))
	if err != nil {
		t.Fatalf("sign: %v", err)
	}
	pemToken, err := hmacToken.SignedString(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: marshalPublic(t, public)}))
	if err != nil {
		t.Fatalf("sign: %v", err)
	}

	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatalf("make key: %v", err)
	}
	rsaToken := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{"sub": "client", "iat": 1800000000, "exp": 1800003600})
	rsaToken.Header["kid"] = "k1"
	rs256, err := rsaToken.SignedString(rsaKey)
	if err != nil {
		t.Fatalf("sign: %v", err)
	}

	good := signToken(key, goodHeader, goodPayload)
	part := strings.Split(good, ".")
	// signText signs a text that is not base64url: the signature is valid, the form is not.
	signText := func(text string) string {
		return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, []byte(text)))
	}

	// sized returns a token of exactly n bytes, by padding in a claim and a space in the header.
	sized := func(n int) string {
		for pad := n/4*3 - 400; pad < n; pad++ {
			payload := payloadWith(`"sub"`, `"pad":"`+strings.Repeat("x", pad)+`","sub"`)
			for _, header := range []string{goodHeader, goodHeader + " "} {
				if token := signToken(key, header, payload); len(token) == n {
					return token
				}
			}
		}

		t.Fatalf("no token of %d bytes can be made", n)
		return ""
	}

	nested := strings.Repeat("[", 2000) + strings.Repeat("]", 2000)
	for _, tc := range []struct {
		name, token string
		accepted    bool
	}{
		{"good", good, true},
		{"alg none", base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"k1"}`)) + "." + part[1] + ".", false},
		{"HS256 with the public key", hs256, false},
		{"HS256 with the public key as PEM", pemToken, false},
		{"RS256 with an RSA key", rs256, false},
		{"EdDSA said to be RS256", signToken(key, `{"alg":"RS256","kid":"k1"}`, goodPayload), false},
		{"no kid", signToken(key, `{"alg":"EdDSA"}`, goodPayload), false},
		{"empty kid", signToken(key, `{"alg":"EdDSA","kid":""}`, goodPayload), false},
		{"numeric kid", signToken(key, `{"alg":"EdDSA","kid":1}`, goodPayload), false},
		{"kid with a path", signToken(key, `{"alg":"EdDSA","kid":"../../etc/passwd"}`, goodPayload), false},
		{"kid with SQL", signToken(key, `{"alg":"EdDSA","kid":"' OR 1=1 --"}`, goodPayload), false},
		{"crit", signToken(key, `{"alg":"EdDSA","kid":"k1","crit":["x"]}`, goodPayload), false},
		{"duplicate header name", signToken(key, `{"alg":"EdDSA","alg":"EdDSA","kid":"k1"}`, goodPayload), false},
		{"duplicate claim", signToken(key, goodHeader, payloadWith(`"sub"`, `"sub":"a","sub"`)), false},
		{"8192 bytes", sized(8192), true},
		{"8193 bytes", sized(8193), false},
		{"two parts", part[0] + "." + part[1], false},
		{"four parts", good + ".x", false},
		{"padded base64", part[0] + "=." + part[1] + "." + part[2], false},
		{"padded payload", signText(part[0] + "." + base64.URLEncoding.EncodeToString([]byte(goodPayload))), false},
		{"padded signature", good + "==", false},
		{"line break in the header", signText(part[0][:4] + "\n" + part[0][4:] + "." + part[1]), false},
		{"line break in the payload", signText(part[0] + "." + part[1][:4] + "\r\n" + part[1][4:]), false},
		{"line feed in the signature", part[0] + "." + part[1] + "." + part[2][:10] + "\n" + part[2][10:], false},
		{"carriage return in the signature", part[0] + "." + part[1] + "." + part[2][:10] + "\r" + part[2][10:], false},
		{"line feed after the signature", good + "\n", false},
		{"changed signature", part[0] + "." + part[1] + "." + strings.Repeat("A", 86), false},
		{"wrong key with the right kid", signToken(privateKeyFromSeed('b'), goodHeader, goodPayload), false},
		{"expired within the leeway", signToken(key, goodHeader, payloadWith("1800003600", "1799999941")), true},
		{"expired", signToken(key, goodHeader, payloadWith("1800003600", "1799999940")), false},
		{"issued at the skew", signToken(key, goodHeader, payloadWith("1800000000", "1800000300")), true},
		{"issued in the future", signToken(key, goodHeader, payloadWith("1800000000", "1800000301")), false},
		{"not valid yet", signToken(key, goodHeader, payloadWith(`"sub"`, `"nbf":1800000301,"sub"`)), false},
		{"no exp", signToken(key, goodHeader, payloadWith(`"exp"`, `"x"`)), false},
		{"no iat", signToken(key, goodHeader, payloadWith(`"iat"`, `"x"`)), false},
		{"no sub", signToken(key, goodHeader, payloadWith(`"sub"`, `"x"`)), false},
		{"float time", signToken(key, goodHeader, payloadWith("1800003600", "1800003600.5")), false},
		{"string time", signToken(key, goodHeader, payloadWith("1800003600", `"1800003600"`)), false},
		{"float iat", signToken(key, goodHeader, payloadWith("1800000000", "1800000000.5")), false},
		{"string iat", signToken(key, goodHeader, payloadWith("1800000000", `"1800000000"`)), false},
		{"float nbf", signToken(key, goodHeader, payloadWith(`"sub"`, `"nbf":1799999999.5,"sub"`)), false},
		{"string nbf", signToken(key, goodHeader, payloadWith(`"sub"`, `"nbf":"1799999999","sub"`)), false},
		{"nbf at the skew", signToken(key, goodHeader, payloadWith(`"sub"`, `"nbf":1800000300,"sub"`)), true},
		// Authorization is not the task of the verifier.
		{"empty service_type", signToken(key, goodHeader, payloadWith(`"meeting-controller"`, `""`)), true},
		{"service_type of the wrong type", signToken(key, goodHeader, payloadWith(`"meeting-controller"`, "7")), false},
		{"time out of range", signToken(key, goodHeader, payloadWith("1800003600", "99999999999999999999")), false},
		{"scope of the wrong type", signToken(key, goodHeader, payloadWith(`"mc:register x"`, "7")), false},
		{"time with an exponent", signToken(key, goodHeader, payloadWith("1800003600", "18000036e2")), false},
		{"header of another case", signToken(key, `{"ALG":"EdDSA","Kid":"k1"}`, goodPayload), false},
		{"header that is not an object", signToken(key, `["EdDSA"]`, goodPayload), false},
		{"claims that are not an object", signToken(key, goodHeader, `["client"]`), false},
		{"deeply nested claim", signToken(key, goodHeader, payloadWith(`"sub"`, `"n":`+nested+`,"sub"`)), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			now := testNow
			v, _ := newTestVerifier(t, "", &now)
			_, err := v.Authenticate(t.Context(), []string{"Bearer " + tc.token})
			if tc.accepted != (err == nil) || err != nil && !errors.Is(err, service.ErrUnauthenticated) {
				t.Errorf("Authenticate(%d bytes) = %v, want accepted %v", len(tc.token), err, tc.accepted)
			}

			if err != nil && strings.Contains(err.Error(), tc.token) {
				t.Error("the error quotes the token")
			}
		})
	}
}

func TestVerifier_AuthorizationHeader(t *testing.T) {
	now := testNow
	v, _ := newTestVerifier(t, "gc", &now)
	withAudience := signToken(privateKeyFromSeed('a'), goodHeader, payloadWith(`"sub"`, `"aud":["x","gc"],"sub"`))
	got, err := v.Authenticate(t.Context(), []string{"Bearer " + withAudience})
	want := service.Caller{Subject: "client", Scopes: []string{"mc:register", "x", "y"}, ServiceType: new("meeting-controller")}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Authenticate() = %v, (-want +got):\n%s", err, diff)
	}

	for claim, want := range map[string]*string{`,"service_type":""`: new(""), `,"service_type":null`: nil, "": nil} {
		payload := strings.Replace(payloadWith(`"sub"`, `"aud":"gc","sub"`), `,"service_type":"meeting-controller"`, claim, 1)
		got, err := v.Authenticate(t.Context(), bearerHeader('a', goodHeader, payload))
		if diff := cmp.Diff(want, got.ServiceType); err != nil || diff != "" {
			t.Errorf("Authenticate(%s) = %v, (-want +got):\n%s", claim, err, diff)
		}
	}

	for _, scheme := range []string{"bearer ", "BEARER ", "bEaReR  "} {
		if _, err := v.Authenticate(t.Context(), []string{scheme + withAudience}); err != nil || !v.IsCached([]string{scheme + withAudience}) {
			t.Errorf("Authenticate(%q) = %v, want the name of the scheme accepted in any case", scheme, err)
		}
	}

	for _, invalid := range [][]string{
		nil,
		{""},
		{"Bearer "},
		{"bearer"},
		{"Bearerx " + withAudience},
		{"Bearer\t" + withAudience},
		{"Basic " + withAudience},
		{withAudience},
		{"Bearer " + withAudience, "Bearer " + withAudience},
		{"Bearer " + signToken(privateKeyFromSeed('a'), goodHeader, goodPayload)},
		{"Bearer " + signToken(privateKeyFromSeed('a'), goodHeader, payloadWith(`"sub"`, `"aud":"x","sub"`))},
		{"Bearer " + signToken(privateKeyFromSeed('a'), goodHeader, payloadWith(`"sub"`, `"aud":7,"sub"`))},
	} {
		if _, err := v.Authenticate(t.Context(), invalid); !errors.Is(err, service.ErrUnauthenticated) {
			t.Errorf("Authenticate(%d values) = %v, want ErrUnauthenticated", len(invalid), err)
		}
	}
}

// TestVerifier_IsWellFormed: the form of a token and the id of its key are checked without its signature.
func TestVerifier_IsWellFormed(t *testing.T) {
	now := testNow
	v, ac := newTestVerifier(t, "", &now)
	good := signToken(privateKeyFromSeed('a'), goodHeader, goodPayload)
	part := strings.Split(good, ".")

	for name, tc := range map[string]struct {
		authorization []string
		want          bool
	}{
		"good":                  {[]string{"Bearer " + good}, true},
		"bad signature":         {[]string{"Bearer " + part[0] + "." + part[1] + "." + strings.Repeat("A", 86)}, true},
		"nothing":               {nil, false},
		"two":                   {[]string{"Bearer " + good, "Bearer " + good}, false},
		"another scheme":        {[]string{"Basic " + good}, false},
		"garbage":               {[]string{"Bearer x"}, false},
		"too long":              {[]string{"Bearer " + good + strings.Repeat("A", maxTokenBytes)}, false},
		"two parts":             {[]string{"Bearer " + part[0] + "." + part[1]}, false},
		"a line break":          {[]string{"Bearer " + good + "\n"}, false},
		"no signature":          {[]string{"Bearer " + part[0] + "." + part[1] + "."}, false},
		"a short signature":     {[]string{"Bearer " + part[0] + "." + part[1] + ".AAAA"}, false},
		"another algorithm":     {bearerHeader('a', `{"alg":"none","kid":"k1"}`, goodPayload), false},
		"an unknown key":        {bearerHeader('b', `{"alg":"EdDSA","kid":"k2"}`, goodPayload), false},
		"a header of no object": {bearerHeader('a', `7`, goodPayload), false},
	} {
		if got := v.IsWellFormed(tc.authorization); got != tc.want {
			t.Errorf("IsWellFormed(%s) = %v, want %v", name, got, tc.want)
		}
	}

	if v.IsCached([]string{"Bearer " + good}) {
		t.Error("IsCached() = true for a token that was not verified")
	}

	v.keys.refetchLimit.SetLimit(rate.Inf)
	ac.setResponse(http.StatusOK, keyDocument(jwkFromSeed("k1", 'a'), jwkFromSeed("k2", 'b')))
	rotated := bearerHeader('b', `{"alg":"EdDSA","kid":"k2"}`, goodPayload)
	for deadline := time.Now().Add(30 * time.Second); !v.IsWellFormed(rotated); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("IsWellFormed() = false 30 s after the key was published")
		}
	}
}

func TestVerifier_IsWellFormedWithoutKeys(t *testing.T) {
	now := testNow
	v, _ := newTestVerifier(t, "", &now)
	v.keys.keys.Store(&map[string]ed25519.PublicKey{})
	if !v.IsWellFormed(bearerHeader('a', goodHeader, goodPayload)) {
		t.Error("IsWellFormed() = false, want true while there is no key")
	}
}

func TestVerifier_Cache(t *testing.T) {
	now := testNow
	v, ac := newTestVerifier(t, "", &now)
	header := bearerHeader('a', goodHeader, goodPayload)
	if v.IsCached(header) || v.IsCached(nil) || v.IsCached([]string{"x"}) {
		t.Error("IsCached() before verification = true, want false")
	}
	if _, err := v.Authenticate(t.Context(), header); err != nil || !v.IsCached(header) {
		t.Fatalf("Authenticate() = %v, IsCached() = %v, want nil and true", err, v.IsCached(header))
	}

	now = testNow.Add(2 * time.Hour)
	if _, err := v.Authenticate(t.Context(), header); err == nil || v.IsCached(header) {
		t.Error("an expired token is still accepted")
	}

	now = testNow
	ac.setResponse(http.StatusOK, keyDocument(jwkFromSeed("k2", 'b')))
	if err := v.keys.Refresh(t.Context()); err != nil {
		t.Fatalf("Refresh() = %v", err)
	}
	if _, err := v.Authenticate(t.Context(), header); err == nil || v.IsCached(header) {
		t.Error("a token is still accepted after its key was withdrawn")
	}
}

func marshalPublic(t *testing.T, key ed25519.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatalf("marshal key: %v", err)
	}
	return der
}

func TestVerifier_OnResult(t *testing.T) {
	now := testNow
	v, ac := newTestVerifier(t, "", &now)
	var got []string
	v.onResult = func(result string) { got = append(got, result) }
	good := bearerHeader('a', goodHeader, goodPayload)
	for range 2 {
		_, _ = v.Authenticate(t.Context(), good)
	}
	_, _ = v.Authenticate(t.Context(), []string{"Bearer x"})
	ac.Close()
	v.keys.keys.Store(&map[string]ed25519.PublicKey{})
	_, _ = v.Authenticate(t.Context(), good)
	if diff := cmp.Diff([]string{"ok", "cached", "invalid", "unavailable"}, got); diff != "" {
		t.Errorf("results: -want +got:\n%s", diff)
	}
}

func TestVerifier_PrintsNoToken(t *testing.T) {
	now := testNow
	v, _ := newTestVerifier(t, "", &now)
	token := signToken(privateKeyFromSeed('a'), goodHeader, goodPayload)
	caller, err := v.Authenticate(t.Context(), []string{"Bearer " + token})
	if err != nil {
		t.Fatalf("Authenticate() = %v", err)
	}

	digest := sha256.Sum256([]byte(token))
	hit, _ := v.cache.Get(digest)
	asJSON, err := json.Marshal(caller)
	if err != nil {
		t.Fatalf("marshal: %v", err)
	}

	for _, shown := range []string{
		fmt.Sprintf("%v %+v %#v", caller, caller, caller),
		fmt.Sprintf("%v %+v %#v", hit, hit, hit),
		fmt.Sprintf("%+v", v),
		string(asJSON),
	} {
		for part := range strings.SplitSeq(token, ".") {
			if strings.Contains(shown, part) {
				t.Errorf("%q shows a part of the token", shown)
			}
		}
	}
}

func FuzzVerifier(f *testing.F) {
	now := testNow
	v, _ := newTestVerifier(f, "", &now)
	good := signToken(privateKeyFromSeed('a'), goodHeader, goodPayload)
	for _, seed := range []string{good, good + ".", "a.b.c", "..", signToken(privateKeyFromSeed('b'), goodHeader, goodPayload)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := v.Authenticate(t.Context(), []string{"Bearer " + token}); err == nil && token != good {
			t.Errorf("a token without a valid signature is accepted: %q", token)
		}
	})
}

func BenchmarkVerifier_Cached(b *testing.B) {
	now := testNow
	v, _ := newTestVerifier(b, "", &now)
	header := bearerHeader('a', goodHeader, goodPayload)
	for b.Loop() {
		if _, err := v.Authenticate(b.Context(), header); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifier_New(b *testing.B) {
	now := testNow
	v, _ := newTestVerifier(b, "", &now)
	header := bearerHeader('a', goodHeader, goodPayload)
	for b.Loop() {
		v.cache.Purge()
		if _, err := v.Authenticate(b.Context(), header); err != nil {
			b.Fatal(err)
		}
	}
}
