package daemon

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "darktower.example/global-controller/proto/darktower/v1"
)

var unavailable = outcome{codes.Unavailable, "Service temporarily unavailable"}

// steppedClock is a wall clock that a test sets.
type steppedClock struct{ by atomic.Int64 }

func (c *steppedClock) now() time.Time { return time.Now().Add(time.Duration(c.by.Load())) }

func (c *steppedClock) step(by time.Duration) { c.by.Store(int64(by)) }

// rotating is an auth controller whose keys change and that can be cut off.
type rotating struct {
	*issuer
	mu        sync.Mutex
	published []string // ids
	keys      map[string]ed25519.PrivateKey
	isCut     bool
}

func newRotating(t *testing.T) *rotating {
	t.Helper()
	r := &rotating{issuer: &issuer{}, keys: make(map[string]ed25519.PrivateKey)}
	for _, kid := range []string{"old", "new"} {
		_, key, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatalf("make key: %v", err)
		}
		r.keys[kid] = key
	}
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.isCut {
			http.Error(w, "", http.StatusBadGateway)
			return
		}
		var keys []string
		for _, kid := range r.published {
			keys = append(keys, fmt.Sprintf(`{"kid":%q,"kty":"OKP","crv":"Ed25519","use":"sig","alg":"EdDSA","x":%q}`,
				kid, base64.RawURLEncoding.EncodeToString(r.keys[kid].Public().(ed25519.PublicKey))))
		}
		_, _ = fmt.Fprintf(w, `{"keys":[%s]}`, strings.Join(keys, ","))
	}))
	t.Cleanup(r.server.Close)
	r.publish("old")
	return r
}

func (r *rotating) publish(kids ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.published = kids
}

func (r *rotating) cut(isCut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.isCut = isCut
}

// sign returns the authorization of a meeting controller by the key of that id.
func (r *rotating) sign(kid string, claims map[string]any) *string {
	value := "Bearer " + (&issuer{key: r.keys[kid]}).token(map[string]any{"kid": kid}, claims)
	return &value
}

// metric returns the value of a series of /metrics, NaN-free; ok is false when it is not there.
func (w *world) metric(series string) (value float64, ok bool) {
	w.t.Helper()
	found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (\S+)$`).FindStringSubmatch(w.get("/metrics", "").body)
	if found == nil {
		return 0, false
	}
	value, err := strconv.ParseFloat(found[1], 64)
	return value, err == nil
}

func TestClock_StepKillsNobody(t *testing.T) {
	onBothStores(t, func(t *testing.T, databaseURL string) {
		var wall steppedClock
		w := newWorld(t, databaseURL, func(c *Config) {
			quick(c)
			c.wallClock = wall.now
		}).ready()
		if got := w.make(ways()[0], call{"RegisterMC", "mc", registration(), w.mc()}); got != (outcome{}) {
			t.Fatalf("RegisterMC() = %v", got)
		}
		living := w.beat("mc")
		defer living.end()
		w.until("healthy", func() bool { return w.fleet()["mc"].Health == "healthy" })
		w.until("the checker at work", func() bool { return strings.Contains(w.get("/metrics", "").body, "\ngc_health_checker_hold 0\n") })

		for _, step := range []time.Duration{2 * time.Hour, -10 * time.Minute} {
			living.seen()
			wall.step(step)
			fresh := "Bearer " + w.issuer.token(nil, map[string]any{"jti": step.String()})
			for _, by := range ways() {
				if got := w.make(by, call{"FastHeartbeat", "mc", load(), &fresh}); got != unavailable {
					t.Errorf("%v, %s: the first heartbeat after the step = %v, want %v", step, by.name, got, unavailable)
				}
			}
			got := w.get("/ready", "")
			var body struct{ Checks map[string]string }
			got.decode(t, &body)
			if got.status != http.StatusServiceUnavailable || !strings.HasSuffix(body.Checks["clock"], "clock") {
				t.Errorf("%v: /ready = %d %s, want 503 and the clock", step, got.status, got.body)
			}
			references := []string{"auth_controller"}
			if strings.HasPrefix(databaseURL, "postgres") {
				references = append(references, "store")
			}
			for _, reference := range references {
				offset, known := w.metric(`gc_clock_offset_seconds{reference="` + reference + `"}`)
				if !known || (time.Duration(offset*float64(time.Second))-step).Abs() > 2*time.Second {
					t.Errorf("gc_clock_offset_seconds of %s = %v, %v, want about %v", reference, offset, known, step.Seconds())
				}
			}

			time.Sleep(w.cfg.StalenessThreshold + 2*time.Second)
			for got, n := range living.seen() {
				// A token that was verified before the step may be let in.
				if got != unavailable && got != (outcome{}) {
					t.Errorf("%v: %d heartbeats were answered %v, want %v", step, n, got, unavailable)
				}
			}
		}
		if got := strings.Count(w.log.String(), "the clock of this host is wrong"); got != 1 {
			t.Errorf("the log names the clock %d times, want once:\n%s", got, w.log)
		}

		wall.step(0)
		w.until("ready again", func() bool { return w.get("/ready", "").status == http.StatusOK })
		living.seen()
		if unhealthy := w.watchFor(w.cfg.StalenessThreshold + 6*time.Second); len(unhealthy) > 0 {
			t.Errorf("unhealthy after the steps: %v, want none", unhealthy)
		}
		for got, n := range living.seen() {
			if got != (outcome{}) {
				t.Errorf("after the steps %d heartbeats were answered %v, want OK", n, got)
			}
		}
		if got := w.get("/api/v1/controllers/mc/transitions", w.reader()).body; strings.Contains(got, "stale") {
			t.Errorf("history = %s, want nothing stale", got)
		}
	})
}

func TestKeys_UnknownKeyWhileCutOff(t *testing.T) {
	onBothStores(t, func(t *testing.T, databaseURL string) {
		ac := newRotating(t)
		w := newWorld(t, databaseURL, func(c *Config) {
			quick(c)
			c.JWKSURL = ac.server.URL
		}).ready()
		for _, id := range []string{"mc-old", "mc-new"} {
			if got := w.make(ways()[0], call{"RegisterMC", id, registration(), ac.sign("old", nil)}); got != (outcome{}) {
				t.Fatalf("RegisterMC(%s) = %v", id, got)
			}
		}
		unknown := outcome{codes.Unauthenticated, "Invalid token"}
		if got := w.make(ways()[0], call{"FastHeartbeat", "mc-new", load(), ac.sign("new", nil)}); got != unknown {
			t.Errorf("a key that is not published = %v, want %v", got, unknown)
		}

		// A new key, and this replica is cut off from where it is published.
		ac.publish("old", "new")
		ac.cut(true)
		for _, by := range ways() {
			w.until("the limit on fetches allows one", func() bool {
				return w.make(by, call{"FastHeartbeat", "mc-new", load(), ac.sign("new", nil)}) != unknown
			})
			if got := w.make(by, call{"FastHeartbeat", "mc-new", load(), ac.sign("new", nil)}); got != unavailable {
				t.Errorf("%s: a new key while cut off = %v, want %v", by.name, got, unavailable)
			}
			if got := w.make(by, call{"FastHeartbeat", "mc-old", load(), ac.sign("old", nil)}); got != (outcome{}) {
				t.Errorf("%s: a key that is held = %v, want OK", by.name, got)
			}
		}
		w.until("not ready", func() bool {
			got := w.get("/ready", "")
			return got.status == http.StatusServiceUnavailable && strings.Contains(got.body, `"keys":"cannot be fetched`)
		})
		if w.server.serviceable.CanVouch() {
			t.Error("the checker vouches for a replica that refuses heartbeats which it should accept")
		}

		// Without such callers it is ready again: the keys that are held serve.
		w.until("ready without such callers", func() bool { return w.get("/ready", "").status == http.StatusOK })
		for _, bad := range []*string{new("Bearer x"), ac.sign("new", map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}), ac.sign("new", map[string]any{"sub": nil})} {
			if got := w.make(ways()[0], call{"FastHeartbeat", "mc-new", load(), bad}); got != unknown {
				t.Errorf("a token that no key could make right = %v, want %v", got, unknown)
			}
		}
		if got := w.get("/ready", "").status; got != http.StatusOK || !w.server.serviceable.CanVouch() {
			t.Errorf("/ready = %d after tokens that no key could make right, want 200", got)
		}
		ac.cut(false)
		w.until("the new key", func() bool {
			return w.make(ways()[0], call{"FastHeartbeat", "mc-new", load(), ac.sign("new", nil)}) == outcome{}
		})
	})
}

func TestKeys_DroppedKeyIsShown(t *testing.T) {
	onBothStores(t, func(t *testing.T, databaseURL string) {
		ac := newRotating(t)
		w := newWorld(t, databaseURL, func(c *Config) {
			c.JWKSURL, c.LogLevel = ac.server.URL, "info"
			c.ForceThreshold, c.StalenessThreshold = true, 5*time.Second
		}).ready()
		for _, id := range []string{"mc-1", "mc-2", "mc-silent"} {
			if got := w.make(ways()[0], call{"RegisterMC", id, registration(), ac.sign("old", nil)}); got != (outcome{}) {
				t.Fatalf("RegisterMC(%s) = %v", id, got)
			}
			if got := w.make(ways()[0], call{"FastHeartbeat", id, load(), ac.sign("old", nil)}); got != (outcome{}) {
				t.Fatalf("FastHeartbeat(%s) = %v", id, got)
			}
		}
		ac.publish("new")
		if err := w.server.judging.keys.Refresh(t.Context()); err != nil {
			t.Fatalf("Refresh() = %v", err)
		}
		token, refused := ac.sign("old", nil), outcome{codes.Unauthenticated, "Invalid token"}
		health := func(id string) string {
			var c shownController
			w.get("/api/v1/controllers/"+id, strings.TrimPrefix(*ac.sign("new", map[string]any{"scope": "gc:read"}), "Bearer ")).decode(t, &c)
			return c.Health
		}
		w.until("all unhealthy", func() bool {
			for _, id := range []string{"mc-1", "mc-2"} {
				if got := w.make(ways()[0], call{"FastHeartbeat", id, load(), token}); got != refused {
					t.Errorf("a dropped key = %v, want %v", got, refused)
				}
			}
			return health("mc-1") == "unhealthy" && health("mc-silent") == "unhealthy"
		})
		if got, _ := w.metric("gc_dropped_key_callers"); got != 2 {
			t.Errorf("gc_dropped_key_callers = %v, want 2", got)
		}
		history := func(id string) string {
			return w.get("/api/v1/controllers/"+id+"/transitions", strings.TrimPrefix(*ac.sign("new", map[string]any{"scope": "gc:read"}), "Bearer ")).body
		}
		if got := history("mc-1"); !regexp.MustCompile(`"reason":"no heartbeat for [^"]*; \d+ calls( or more)? in its name were refused meanwhile: key no longer published"`).MatchString(got) {
			t.Errorf("history of a refused controller = %s, want it to say so", got)
		}
		if got := history("mc-silent"); strings.Contains(got, "refused") {
			t.Errorf("history of a silent controller = %s, want no refusal", got)
		}
		w.server.judging.reportDroppedKey()
		if got := w.log.String(); !strings.Contains(got, "no longer published") || !strings.Contains(got, "controllers=2") {
			t.Errorf("log = %s, want it to count the controllers", got)
		}
		if got := w.log.String(); !regexp.MustCompile(`msg="controller is stale" controller_id=mc-1 .*reason="[^"]*refused meanwhile`).MatchString(got) {
			t.Errorf("log = %s, want the line about the stale controller to mention the refusals", got)
		}
	})
}

func TestLog_IsBoundedUnderAttack(t *testing.T) {
	onBothStores(t, func(t *testing.T, databaseURL string) {
		w := newWorld(t, databaseURL, func(c *Config) { c.LogLevel, c.RateLimitPerMinute = "info", 600 }).ready()
		before := len(w.log.String())
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() {
				for range 1250 {
					w.make(ways()[0], call{"FastHeartbeat", fmt.Sprintf("mc-%d", i), load(), new("Bearer x")})
				}
			})
		}
		all.Wait()
		if grown := len(w.log.String()) - before; grown > 2000 {
			t.Errorf("5000 bad tokens made the log grow by %d bytes, want a line for each kind", grown)
		}
		w.server.judging.calls.Flush()
		var counted int
		for _, found := range regexp.MustCompile(`msg="more calls" endpoint=FastHeartbeat .*count=(\d+)`).FindAllStringSubmatch(w.log.String(), -1) {
			n, _ := strconv.Atoi(found[1])
			counted += n
		}
		if counted < 4900 {
			t.Errorf("%d calls are counted, want nearly 5000; log:\n%s", counted, w.log)
		}
		t.Logf("the log grew by %d bytes", len(w.log.String())-before)
	})
}

func TestLog_ControllersComeAndGo(t *testing.T) {
	onBothStores(t, func(t *testing.T, databaseURL string) {
		w := newWorld(t, databaseURL, func(c *Config) { c.LogLevel = "info" }).ready()
		admin := bearer(w.issuer.token(nil, map[string]any{"scope": "gc:admin", "sub": "anna"}))
		if got := w.make(ways()[0], call{"RegisterMC", "mc", registration(), w.mc()}); got != (outcome{}) {
			t.Fatalf("RegisterMC() = %v", got)
		}
		for _, step := range []struct{ method, path, body string }{
			{http.MethodPost, "/drain", `{"reason":"kernel","force":true}`},
			{http.MethodDelete, "/drain", ""},
			{http.MethodDelete, "", ""},
		} {
			if got := w.request(step.method, "/api/v1/controllers/mc"+step.path, step.body, admin); got.status != http.StatusOK {
				t.Fatalf("%s %s = %d %s", step.method, step.path, got.status, got.body)
			}
		}
		for _, want := range []string{
			`msg="controller registered" controller_id=mc`, `msg="controller is drained" controller_id=mc region=eu-west-1 from=pending to=draining actor=anna`,
			`msg="controller is drained no more" controller_id=mc`, `msg="controller left the fleet" controller_id=mc`,
		} {
			if !strings.Contains(w.log.String(), want) {
				t.Errorf("the log lacks %s:\n%s", want, w.log)
			}
		}

		// A burst is summed up: at most eventLines lines in each eventPeriod.
		began := time.Now()
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() {
				for j := range 100 {
					w.make(ways()[0], call{"RegisterMC", fmt.Sprintf("mc-%d-%d", i, j), registration(), w.mc()})
				}
			})
		}
		all.Wait()
		w.server.judging.events.Flush()
		lines := strings.Count(w.log.String(), `msg="controller registered" controller_id=`) - 1
		var more int
		for _, found := range regexp.MustCompile(`msg="controller registered" more=true count=(\d+)`).FindAllStringSubmatch(w.log.String(), -1) {
			n, _ := strconv.Atoi(found[1])
			more += n
		}
		limit := eventLines * (int(time.Since(began)/eventPeriod) + 2)
		if lines+more != 400 || lines > limit {
			t.Errorf("400 registrations made %d lines and %d that are only counted, want all of them in at most %d lines", lines, more, limit)
		}
	})
}

func TestUnknownServices_AreCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqliteURL(t), func(c *Config) { c.LogLevel = "info" }).ready()
	ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", *w.mc())
	for range 50 {
		err := w.conn.Invoke(ctx, "/dark_tower.internal.v1.MediaHandlerService/Register", &pb.RegisterMCRequest{}, &pb.RegisterMCResponse{})
		if status.Code(err) != codes.Unimplemented {
			t.Fatalf("an unknown service = %v, want Unimplemented", err)
		}
		if got := w.get("/api/v2/controllers", "").status; got != http.StatusNotFound {
			t.Fatalf("an unknown path = %d, want 404", got)
		}
	}
	for _, transport := range []string{"grpc", "http"} {
		if got, _ := w.metric(`gc_unknown_calls_total{transport="` + transport + `"}`); got != 50 {
			t.Errorf("gc_unknown_calls_total of %s = %v, want 50", transport, got)
		}
	}
	w.server.judging.calls.Flush()
	for _, want := range []string{
		`msg="call to what is not served" transport=grpc peer=127.0.0.1 what=/dark_tower.internal.v1.MediaHandlerService/Register`,
		`msg="more calls to what is not served" transport=grpc peer=127.0.0.1 what=/dark_tower.internal.v1.MediaHandlerService/Register count=49`,
		`msg="call to what is not served" transport=http peer=127.0.0.1 what="GET /api/v2/controllers"`,
	} {
		if strings.Count(w.log.String(), want) != 1 {
			t.Errorf("the log has not one line %s:\n%s", want, w.log)
		}
	}
}

func TestTLSHandshakes_FailuresAreCounted(t *testing.T) {
	t.Parallel()
	certificate, key, _ := certificate(t)
	w := newWorld(t, sqliteURL(t), func(c *Config) { c.LogLevel, c.TLSCertFile, c.TLSKeyFile = "info", certificate, key })
	// One that trusts nothing, and one that speaks no TLS.
	strict := &http.Client{Transport: &http.Transport{}}
	defer strict.CloseIdleConnections()
	for range 20 {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+w.address+"/health", nil)
		if err != nil {
			t.Fatal(err)
		}
		if response, err := strict.Do(request); err == nil {
			_ = response.Body.Close()
			t.Fatal("a client that trusts nothing is let in")
		}
	}
	for _, how := range []credentials.TransportCredentials{insecure.NewCredentials(), credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12})} {
		conn, err := grpc.NewClient(w.server.GRPCAddress(), grpc.WithTransportCredentials(how))
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Invoke(t.Context(), "/dark_tower.internal.v1.GlobalControllerService/RegisterMC", &pb.RegisterMCRequest{}, &pb.RegisterMCResponse{})
		_ = conn.Close()
	}
	w.until("counted", func() bool {
		return slices.Index([]bool{
			strings.Count(w.log.String(), `msg="TLS handshake failed" transport=http`) == 1,
			strings.Count(w.log.String(), `msg="TLS handshake failed" transport=grpc`) == 1,
		}, false) < 0
	})
	if strings.Contains(w.log.String(), "http: TLS handshake error") {
		t.Errorf("each failed handshake has a line still:\n%s", w.log)
	}
}

func TestTLSHandshakes_OnPortsWithoutTLSAreCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sqliteURL(t), func(c *Config) { c.LogLevel = "info" }).ready()
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}
	for transport, address := range map[string]string{"grpc": w.server.GRPCAddress(), "http": w.server.HTTPAddress()} {
		dialer := tls.Dialer{Config: config}
		if conn, err := dialer.DialContext(t.Context(), "tcp", address); err == nil {
			_ = conn.Close()
			t.Fatal("a port without TLS speaks TLS")
		}
		w.until("counted", func() bool {
			n, _ := w.metric(`gc_tls_handshake_failures_total{transport="` + transport + `"}`)
			return n == 1
		})
		if want := `msg="TLS handshake failed" transport=` + transport + ` peer=127.0.0.1 err="the caller speaks TLS, and this port does not"`; !strings.Contains(w.log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, w.log)
		}
	}
}
