package daemon

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"darktower.example/global-controller/internal/testpg"
	pb "darktower.example/global-controller/proto/darktower/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come; none of them measures it.
const patience = 30 * time.Second

// onBothStores runs a test over SQLite and over PostgreSQL.
func onBothStores(t *testing.T, test func(t *testing.T, databaseURL string)) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, sqliteURL(t))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, testpg.URL(t))
	})
}

func sqliteURL(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "gc.db") }

// issuer is an auth controller that signs whatever a test asks for.
type issuer struct {
	key    ed25519.PrivateKey
	server *httptest.Server
}

const issuerKeyID = "key-1"

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatalf("make key: %v", err)
	}
	i := &issuer{key: key}
	i.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"keys":[{"kid":%q,"kty":"OKP","crv":"Ed25519","use":"sig","alg":"EdDSA","x":%q}]}`,
			issuerKeyID, base64.RawURLEncoding.EncodeToString(key.Public().(ed25519.PublicKey)))
	}))
	t.Cleanup(i.server.Close)
	return i
}

// token signs header and claims, which replace the usual ones; nil removes one.
func (i *issuer) token(header, claims map[string]any) string {
	h := map[string]any{"alg": "EdDSA", "typ": "JWT", "kid": issuerKeyID}
	c := map[string]any{"sub": "client-1", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(), "scope": "mc:register"}
	text := segment(h, header) + "." + segment(c, claims)
	return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(i.key, []byte(text)))
}

func segment(usual, other map[string]any) string {
	maps.Copy(usual, other)
	maps.DeleteFunc(usual, func(_ string, v any) bool { return v == nil })
	data, err := json.Marshal(usual)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

// lockedBuffer takes the log.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// world is a Global Controller that runs, with its auth controller.
type world struct {
	t      *testing.T
	cfg    Config
	server *Server
	issuer *issuer
	log    *lockedBuffer
	conn   *grpc.ClientConn
	http   *http.Client
	// address is where HTTP listens.
	address string
	stop    context.CancelFunc
	ended   chan error
}

// newWorld starts a Global Controller on free ports, without waiting until it is ready.
func newWorld(t *testing.T, databaseURL string, change func(*Config)) *world {
	t.Helper()
	w := &world{t: t, issuer: newIssuer(t), log: &lockedBuffer{}, cfg: DefaultConfig()}
	w.cfg.DatabaseURL, w.cfg.BindAddress, w.cfg.GRPCBindAddress = databaseURL, "127.0.0.1:0", "127.0.0.1:0"
	w.cfg.JWKSURL, w.cfg.LogLevel, w.cfg.Drain = w.issuer.server.URL, "debug", 5*time.Second
	w.cfg.RateLimitPerMinute = 1_000_000 // Tests are in a hurry.
	if change != nil {
		change(&w.cfg)
	}
	w.run()
	return w
}

func (w *world) run() {
	w.t.Helper()
	server, err := New(w.cfg, NewLogger(w.log, w.cfg))
	if err != nil {
		w.t.Fatalf("New() = %v", err)
	}
	w.server, w.address, w.ended = server, server.HTTPAddress(), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	var once sync.Once
	w.stop = func() { once.Do(cancel) }
	go func() { w.ended <- server.Run(ctx) }()
	w.conn, err = grpc.NewClient(server.GRPCAddress(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		w.t.Fatalf("connect: %v", err)
	}
	w.http = &http.Client{Transport: &http.Transport{}}
	w.t.Cleanup(w.end)
}

// end stops the server and holds that it ended well. Ending twice is allowed.
func (w *world) end() {
	w.stop()
	_ = w.conn.Close()
	w.http.CloseIdleConnections()
	if w.ended == nil {
		return
	}
	select {
	case err := <-w.ended:
		if err != nil {
			w.t.Errorf("Run() = %v, want nil", err)
		}
	case <-time.After(patience):
		w.t.Error("the server did not stop")
	}
	w.ended = nil
}

// until waits for what must come true.
func (w *world) until(what string, holds func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("%s: not within %v; log:\n%s", what, patience, w.log)
		}
	}
}

func (w *world) ready() *world {
	w.t.Helper()
	w.until("ready", func() bool { return w.get("/ready", "").status == http.StatusOK })
	return w
}

// answer is what HTTP answered.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) decode(t *testing.T, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), into); err != nil {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
}

func (w *world) get(path, token string) answer {
	w.t.Helper()
	return w.request(http.MethodGet, path, "", bearer(token))
}

func bearer(token string) http.Header {
	if token == "" {
		return http.Header{}
	}
	return http.Header{"Authorization": {"Bearer " + token}}
}

func (w *world) request(method, path, body string, header http.Header) answer {
	w.t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), method, "http://"+w.address+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	maps.Copy(request.Header, header)
	if body != "" && request.Header.Get("Content-Type") == "" {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := w.http.Do(request)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{response.StatusCode, response.Header, string(text)}
}

// call is one call of a meeting controller, in words that fit both transports.
type call struct {
	operation string
	id        string
	fields    map[string]any
	// authorization is the header's value; nil sends none.
	authorization *string
}

// way is a way to make a call.
type way struct {
	name string
	// service is the gRPC service's full name, empty for HTTP.
	service string
}

func ways() []way {
	return []way{
		{"grpc", "dark_tower.internal.v1.GlobalControllerService"},
		{"grpc by the older name", "dark_tower.internal.GlobalControllerService"},
		{"http", ""},
	}
}

// outcome is how a call ended, whichever way it was made.
type outcome struct {
	code    codes.Code
	message string
}

func (w *world) make(by way, c call) outcome {
	w.t.Helper()
	if by.service == "" {
		return w.makeHTTP(c)
	}
	_, err := w.invoke(by.service, c)
	return outcome{status.Code(err), status.Convert(err).Message()}
}

func (w *world) invoke(service string, c call) (proto.Message, error) {
	w.t.Helper()
	fields := maps.Clone(c.fields)
	if fields == nil {
		fields = map[string]any{}
	}
	var request, response proto.Message
	switch c.operation {
	case "RegisterMC":
		request, response, fields["id"] = &pb.RegisterMCRequest{}, &pb.RegisterMCResponse{}, c.id
	case "FastHeartbeat":
		request, response, fields["controller_id"] = &pb.FastHeartbeatRequest{}, &pb.FastHeartbeatResponse{}, c.id
	case "ComprehensiveHeartbeat":
		request, response, fields["controller_id"] = &pb.ComprehensiveHeartbeatRequest{}, &pb.ComprehensiveHeartbeatResponse{}, c.id
	default:
		w.t.Fatalf("operation %q", c.operation)
	}
	data, err := json.Marshal(fields)
	if err == nil {
		err = protojson.Unmarshal(data, request)
	}
	if err != nil {
		w.t.Fatalf("%s %v: %v", c.operation, fields, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if c.authorization != nil {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", *c.authorization)
	}
	return response, w.conn.Invoke(ctx, "/"+service+"/"+c.operation, request, response)
}

func (w *world) makeHTTP(c call) outcome {
	w.t.Helper()
	data, err := json.Marshal(c.fields)
	if err != nil {
		w.t.Fatalf("%v: %v", c.fields, err)
	}
	method, path := http.MethodPut, "/api/v1/controllers/"+c.id
	switch c.operation {
	case "FastHeartbeat":
		method, path = http.MethodPost, path+"/heartbeats/fast"
	case "ComprehensiveHeartbeat":
		method, path = http.MethodPost, path+"/heartbeats/comprehensive"
	}
	header := http.Header{}
	if c.authorization != nil {
		header.Set("Authorization", *c.authorization)
	}
	got := w.request(method, path, string(data), header)
	if got.status == http.StatusOK {
		return outcome{}
	}
	var body struct {
		Error struct{ Code, Message string }
	}
	got.decode(w.t, &body)
	kinds := map[string]struct {
		status int
		code   codes.Code
	}{
		"BAD_REQUEST": {400, codes.InvalidArgument}, "INVALID_TOKEN": {401, codes.Unauthenticated}, "FORBIDDEN": {403, codes.PermissionDenied},
		"NOT_FOUND": {404, codes.NotFound}, "RATE_LIMIT_EXCEEDED": {429, codes.ResourceExhausted}, "SERVICE_UNAVAILABLE": {503, codes.Unavailable}, "CONFLICT": {409, codes.FailedPrecondition},
	}
	kind, ok := kinds[body.Error.Code]
	if !ok || kind.status != got.status {
		w.t.Errorf("%s %s = %d %s, want a status and a code that belong together", method, path, got.status, got.body)
	}
	if challenge := got.header.Get("WWW-Authenticate"); (got.status == http.StatusUnauthorized) != (challenge == "Bearer") {
		w.t.Errorf("%s %s = %d with WWW-Authenticate %q, want Bearer with 401 and only there", method, path, got.status, challenge)
	}
	return outcome{kind.code, body.Error.Message}
}

func registration() map[string]any {
	return map[string]any{
		"region": "eu-west-1", "grpc_endpoint": "http://mc.example:50052", "webtransport_endpoint": "https://mc.example:4433",
		"max_meetings": 100, "max_participants": 1000,
	}
}

func load() map[string]any {
	return map[string]any{"capacity": map[string]any{"max_meetings": 100, "current_meetings": 3, "max_participants": 1000, "current_participants": 30}, "health": 1}
}

func fullLoad() map[string]any {
	fields := load()
	fields["cpu_usage_percent"], fields["memory_usage_percent"] = 12.5, 50
	return fields
}

// with returns fields with one of them replaced, or removed when value is nil.
func with(fields map[string]any, name string, value any) map[string]any {
	fields = maps.Clone(fields)
	if value == nil {
		delete(fields, name)
	} else {
		fields[name] = value
	}
	return fields
}

// mc is the authorization of a meeting controller.
func (w *world) mc() *string {
	value := "Bearer " + w.issuer.token(nil, nil)
	return &value
}

// reader is a token that may read the fleet.
func (w *world) reader() string { return w.issuer.token(nil, map[string]any{"scope": "gc:read"}) }

type shownController struct {
	ControllerID    string    `json:"controller_id"`
	Health          string    `json:"health"`
	CurrentMeetings int       `json:"current_meetings"`
	Stale           bool      `json:"stale"`
	LastHeartbeatAt time.Time `json:"last_heartbeat_at"`
}

// fleet reads the whole fleet.
func (w *world) fleet() map[string]shownController {
	w.t.Helper()
	found := make(map[string]shownController)
	for page := ""; ; {
		got := w.get("/api/v1/controllers?page_size=1000&page_token="+page, w.reader())
		if got.status != http.StatusOK {
			w.t.Fatalf("list = %d %s", got.status, got.body)
		}
		var body struct {
			Controllers   []shownController
			NextPageToken string `json:"next_page_token"`
		}
		got.decode(w.t, &body)
		for _, c := range body.Controllers {
			found[c.ControllerID] = c
		}
		if page = body.NextPageToken; page == "" {
			return found
		}
	}
}
