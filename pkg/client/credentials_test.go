package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/client_golang/prometheus"
)

const testSecret = "hunter2-and-a-half"

// fakeAuthController is an auth controller with settable responses.
type fakeAuthController struct {
	*httptest.Server
	requests atomic.Int32
	mu       sync.Mutex
	handler  http.HandlerFunc // nil: a token, t1, t2 and so on.
	lifetime int
}

func startAuthController(t *testing.T) *fakeAuthController {
	t.Helper()
	ac := &fakeAuthController{lifetime: 3600}
	ac.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := ac.requests.Add(1)
		ac.mu.Lock()
		handler, lifetime := ac.handler, ac.lifetime
		ac.mu.Unlock()
		if handler != nil {
			handler(w, r)
			return
		}
		_, _ = fmt.Fprintf(w, `{"access_token":"t%d","token_type":"bearer","expires_in":%d,"scope":"mc:register"}`, n, lifetime)
	}))
	t.Cleanup(ac.Close)
	return ac
}

func (ac *fakeAuthController) setHandler(handler http.HandlerFunc) {
	ac.mu.Lock()
	defer ac.mu.Unlock()
	ac.handler = handler
}

// fakeClocks are the clocks of a machine.
type fakeClocks struct {
	mu        sync.Mutex
	wall      time.Time
	monotonic time.Duration
}

func (c *fakeClocks) move(wall, monotonic time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall = c.wall.Add(wall)
	c.monotonic += monotonic
}

func newTestSource(t *testing.T, ac *fakeAuthController) (*ClientCredentials, *fakeClocks) {
	t.Helper()
	c := &fakeClocks{wall: time.Unix(1_700_000_000, 0)}
	source, err := NewTokenSource(TokenConfig{
		URL:          ac.URL + "/",
		ClientID:     "mc",
		ClientSecret: testSecret,
		Scope:        "mc:register",
		Now: func() time.Time {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.wall
		},
	})
	if err != nil {
		t.Fatalf("NewTokenSource() = %v", err)
	}

	source.monotonic = func() time.Duration {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.monotonic
	}
	source.random = func() float64 { return 0.5 } // Tokens are renewed at 70 % of their lifetime.
	t.Cleanup(source.Close)
	return source, c
}

func checkToken(t *testing.T, source TokenSource, want string) {
	t.Helper()
	got, err := source.Token(t.Context())
	if got != want || (err == nil) != (want != "") {
		t.Errorf("Token() = %q, %v, want %q", got, err, want)
	}
}

// waitForFetch waits for the fetch that is under way.
func waitForFetch(c *ClientCredentials) { c.fetches.Wait() }

func TestClientCredentials_Request(t *testing.T) {
	t.Parallel()
	ac := startAuthController(t)
	ac.setHandler(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var got map[string]string
		_ = json.Unmarshal(body, &got)
		want := map[string]string{
			"grant_type":    "client_credentials",
			"client_id":     "mc",
			"client_secret": testSecret,
			"scope":         "mc:register",
		}

		isForEndpoint := r.Method == http.MethodPost && r.URL.Path == "/api/v1/auth/service/token"
		if !isForEndpoint || r.Header.Get("Content-Type") != "application/json" || !maps.Equal(got, want) {
			t.Errorf("%s %s with %v, want the request of the contract", r.Method, r.URL, got)
		}
		_, _ = io.WriteString(w, `{"access_token":"a.b.c","token_type":"Bearer","expires_in":3600}`)
	})

	source, _ := newTestSource(t, ac)
	checkToken(t, source, "a.b.c")
	checkToken(t, source, "a.b.c")
	if n := ac.requests.Load(); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

func TestClientCredentials_Renewal(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		wall, monotonic time.Duration
		isRenewed       bool
	}{
		"young":                                         {41 * time.Minute, 41 * time.Minute, false},
		"at 70 % of its lifetime":                       {42 * time.Minute, 42 * time.Minute, true},
		"after the machine slept":                       {50 * time.Minute, 0, true},
		"after a set clock":                             {50 * time.Hour, time.Second, true},
		"wall clock stopped":                            {0, 43 * time.Minute, true},
		"wall clock a little back":                      {-2 * time.Second, 2 * time.Second, false},
		"wall clock set back":                           {-time.Minute, time.Second, true},
		"wall clock set far back":                       {-1000 * time.Hour, time.Second, true},
		"both far beyond its end":                       {1000 * time.Hour, 1000 * time.Hour, true},
		"wall clock back, expired by the monotonic one": {-time.Hour, 2 * time.Hour, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ac := startAuthController(t)
			source, clocks := newTestSource(t, ac)
			checkToken(t, source, "t1")

			clocks.move(c.wall, c.monotonic)
			_, _ = source.Token(t.Context())
			waitForFetch(source)

			want := map[bool]string{true: "t2", false: "t1"}[c.isRenewed]
			checkToken(t, source, want)
			waitForFetch(source)
			checkToken(t, source, want) // One step of a clock causes one renewal.
		})
	}
}

func TestClientCredentials_TokenIsKeptWhileFetchesFail(t *testing.T) {
	t.Parallel()
	ac := startAuthController(t)
	source, clocks := newTestSource(t, ac)
	checkToken(t, source, "t1")
	ac.setHandler(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	clocks.move(50*time.Minute, 50*time.Minute)

	for range 20 {
		checkToken(t, source, "t1")
		waitForFetch(source)
	}
	if n := ac.requests.Load(); n != 2 {
		t.Errorf("%d requests, want 2: one retry and then a delay", n)
	}

	clocks.move(9*time.Hour, time.Minute) // Expired by one clock only, which may be wrong.
	checkToken(t, source, "t1")
	waitForFetch(source)
	clocks.move(0, time.Hour)
	checkToken(t, source, "")
	ac.setHandler(nil)
	clocks.move(time.Minute, time.Minute)
	checkToken(t, source, "t5")
}

func TestClientCredentials_RetryDelays(t *testing.T) {
	t.Parallel()
	ac := startAuthController(t)
	ac.setHandler(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	source, clocks := newTestSource(t, ac)

	var at []time.Duration
	for requests := int32(0); len(at) < 9; clocks.move(250*time.Millisecond, 250*time.Millisecond) {
		checkToken(t, source, "")
		waitForFetch(source)
		if n := ac.requests.Load(); n != requests {
			requests, at = n, append(at, clocks.monotonic)
		}
	}

	// With random at 0.5, a delay is three quarters of 1, 2, 4 … 30 s.
	for i, want := range []time.Duration{750, 1500, 3000, 6000, 12000, 22500, 22500, 22500} {
		checkWithin(t, "delay "+strconv.Itoa(i), at[i+1]-at[i], want*time.Millisecond, (want+250)*time.Millisecond)
	}
}

func TestClientCredentials_CallersShareAFetch(t *testing.T) {
	t.Parallel()
	ac := startAuthController(t)
	arrived, proceed := make(chan struct{}, 10), make(chan struct{})
	ac.setHandler(func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-proceed
		_, _ = io.WriteString(w, `{"access_token":"one","token_type":"Bearer","expires_in":3600}`)
	})

	source, clocks := newTestSource(t, ac)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() { // The first caller cancels, which must not affect the others.
		if _, err := source.Token(ctx); err == nil {
			t.Error("Token() = nil, want an error of the context")
		}
	})

	<-arrived
	for range 50 {
		all.Go(func() { checkToken(t, source, "one") })
	}
	cancel()
	proceed <- struct{}{}
	all.Wait()

	// A renewal delays no caller.
	clocks.move(50*time.Minute, 50*time.Minute)
	for range 50 {
		all.Go(func() { checkToken(t, source, "one") })
	}
	all.Wait()

	<-arrived
	close(proceed)
	waitForFetch(source)
	if n := ac.requests.Load(); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
}

func TestClientCredentials_RefusedTokenIsReplaced(t *testing.T) {
	t.Parallel()
	ac := startAuthController(t)
	source, clocks := newTestSource(t, ac)
	checkToken(t, source, "t1")

	source.Invalidate("other")
	source.Invalidate("")
	checkToken(t, source, "t1")
	source.Invalidate("t1")
	checkToken(t, source, "t2")
	source.Invalidate("t1") // From a caller that is late.
	checkToken(t, source, "t2")

	// If the service refuses every token, the auth controller gets no unlimited requests.
	source.Invalidate("t2")
	for range 20 {
		checkToken(t, source, "")
	}
	clocks.move(time.Second, time.Second)
	checkToken(t, source, "t3")

	clocks.move(2*refusalWindow, 2*refusalWindow)
	source.Invalidate("t3")
	checkToken(t, source, "t4")
}

func TestClientCredentials_InvalidResponses(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the secret went to another host")
	}))
	t.Cleanup(other.Close)
	text := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}

	token := func(fields string) http.HandlerFunc {
		return text(200, `{"token_type":"Bearer","marker":1,`+fields+`}`)
	}

	for name, handler := range map[string]http.HandlerFunc{
		"400":                  text(400, `{"error":"invalid_request","marker":1}`),
		"401":                  text(401, `{"error":"marker"}`),
		"500":                  text(500, "marker"),
		"204":                  text(204, ""),
		"201":                  text(201, `{"access_token":"t","token_type":"Bearer","expires_in":1}`),
		"nothing":              text(200, ""),
		"HTML":                 text(200, "<html><body>marker</body></html>"),
		"garbage":              text(200, "\x00\xff\x17marker"),
		"a list":               text(200, `["marker"]`),
		"null":                 text(200, `null`),
		"no token":             token(`"expires_in":3600`),
		"an empty token":       token(`"expires_in":3600,"access_token":""`),
		"a number":             token(`"expires_in":3600,"access_token":17`),
		"a long token":         token(`"expires_in":3600,"access_token":"` + strings.Repeat("t", maxTokenBytes+1) + `"`),
		"a line break":         token(`"expires_in":3600,"access_token":"a\r\nmarker: b"`),
		"a blank":              token(`"expires_in":3600,"access_token":"a b"`),
		"not ASCII":            token(`"expires_in":3600,"access_token":"ä"`),
		"expires_in 0":         token(`"expires_in":0,"access_token":"t"`),
		"negative":             token(`"expires_in":-5,"access_token":"t"`),
		"no expires_in":        token(`"access_token":"t"`),
		"expires_in a word":    token(`"expires_in":"marker","access_token":"t"`),
		"too large a lifetime": token(`"expires_in":1e999,"access_token":"t"`),
		"more after it":        text(200, `{"access_token":"t","token_type":"Bearer","expires_in":1} marker`),
		"another type":         text(200, `{"access_token":"t","token_type":"marker","expires_in":3600}`),
		"a huge body":          token(`"access_token":"t","expires_in":3600,"x":"` + strings.Repeat("marker", 20_000) + `"`),
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL+"/marker", http.StatusTemporaryRedirect)
		},
		"redirect loop": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusPermanentRedirect)
		},
		"closed": func(w http.ResponseWriter, _ *http.Request) {
			conn, _, _ := http.NewResponseController(w).Hijack()
			_ = conn.Close()
		},
		"closed during the body": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "marker")
		},
		"not HTTP": func(w http.ResponseWriter, _ *http.Request) {
			conn, _, _ := http.NewResponseController(w).Hijack()
			_, _ = io.WriteString(conn, "marker marker marker\r\n\r\n")
			_ = conn.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ac := startAuthController(t)
			ac.Config.ErrorLog = nil
			ac.setHandler(handler)
			var logged lockedBuffer
			source, _ := newTestSource(t, ac)
			source.cfg.Logger = log.NewLogfmtLogger(&logged)
			registry := prometheus.NewRegistry()
			source.cfg.Metrics = NewMetrics(registry)
			got, err := source.Token(t.Context())
			if got != "" || err == nil {
				t.Fatalf("Token() = %q, %v, want an error", got, err)
			}
			waitForFetch(source)

			_, again := source.Token(t.Context())
			for _, text := range []string{err.Error(), again.Error(), logged.String()} {
				if strings.Contains(text, "marker") || strings.Contains(text, testSecret) || text == "" {
					t.Errorf("text %q has a part of the response or the secret", text)
				}
			}

			if n := metricSum(t, registry, "mc_client_token_fetches_total", "error"); n != 1 {
				t.Errorf("counted %v errors, want 1", n)
			}

			ac.setHandler(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, `{"access_token":"valid","token_type":"BEARER","expires_in":3600.5}`)
			})
			source.mu.Lock()
			source.nextFetch = 0
			source.mu.Unlock()
			checkToken(t, source, "valid")
		})
	}
}

func TestClientCredentials_LifetimeLimit(t *testing.T) {
	t.Parallel()
	for seconds, want := range map[string]time.Duration{
		"1":                   time.Second,
		"0.5":                 500 * time.Millisecond,
		"86399":               86399 * time.Second,
		"86401":               maxTokenLifetime,
		"1e300":               maxTokenLifetime,
		"9223372036854775807": maxTokenLifetime,
	} {
		token := strings.Repeat("t", maxTokenBytes)
		_, got, err := parseToken([]byte(`{"access_token":"` + token + `","token_type":"Bearer","expires_in":` + seconds + `}`))
		if err != nil || got != want {
			t.Errorf("parseToken(%s) = %v, %v, want %v", seconds, got, err, want)
		}
	}
}

func TestClientCredentials_NoResponse(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	source, err := NewTokenSource(TokenConfig{URL: "http://" + listener.Addr().String(), ClientID: "mc", ClientSecret: testSecret})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := source.Token(ctx); err == nil {
		t.Error("Token() = nil, want an error of the context")
	}

	source.Close() // Cancels the fetch that still waits; goleak would find it.
	if _, err := source.Token(t.Context()); err == nil {
		t.Error("Token() after Close = nil, want an error")
	}

	waitForFetch(source)
	_ = listener.Close()
	gone, err := NewTokenSource(TokenConfig{URL: "http://" + listener.Addr().String(), ClientID: "mc", ClientSecret: testSecret})
	if err != nil {
		t.Fatal(err)
	}
	defer gone.Close()
	if _, err := gone.Token(t.Context()); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("Token() = %v, want a refused connection", err)
	}
}

func TestTokenConfig_Validation(t *testing.T) {
	t.Parallel()
	for _, cfg := range []TokenConfig{
		{},
		{URL: "ftp://ac", ClientID: "a", ClientSecret: "b"},
		{URL: "http://", ClientID: "a", ClientSecret: "b"},
		{URL: "http://a:b@ac", ClientID: "a", ClientSecret: "b"},
		{URL: "http://ac?x=" + testSecret, ClientID: "a", ClientSecret: "b"},
		{URL: "http://ac#x", ClientID: "a", ClientSecret: "b"},
		{URL: "http://ac\x7f/" + testSecret, ClientID: "a", ClientSecret: "b"},
		{URL: "http://ac", ClientSecret: "b"},
		{URL: "http://ac", ClientID: "a"},
	} {
		if _, err := NewTokenSource(cfg); err == nil || strings.Contains(err.Error(), testSecret) {
			t.Errorf("NewTokenSource(%+v) = %v, want an error without the secret", cfg, err)
		}
	}

	given := &http.Client{Timeout: time.Second}
	source, err := NewTokenSource(TokenConfig{URL: "https://ac/base/", ClientID: "a", ClientSecret: "b", HTTPClient: given})
	if err != nil || source.httpClient.Timeout != time.Second || given.CheckRedirect != nil || source.cfg.URL != "https://ac/base" {
		t.Errorf("NewTokenSource() = %v, want a copy of the given client", err)
	}
}
