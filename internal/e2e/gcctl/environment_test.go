package gcctl_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-kit/log"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"darktower.example/global-controller/internal/daemon"
	"darktower.example/global-controller/internal/freeport"
	"darktower.example/global-controller/internal/operatorcli"
	"darktower.example/global-controller/internal/testpg"
	"darktower.example/global-controller/pkg/devauth"
	pb "darktower.example/global-controller/proto/darktower/v1"
)

// patience is how long a test waits for what must come; none of them measures it.
const patience = 30 * time.Second

// onBothStores runs a test over SQLite and over PostgreSQL.
func onBothStores(t *testing.T, test func(t *testing.T, w *world), change ...func(*daemon.Config)) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, newWorld(t, "sqlite:"+filepath.Join(t.TempDir(), "gc.db"), change...))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, newWorld(t, testpg.URL(t), change...))
	})
}

// world is a Global Controller and its auth controller, and somebody with gcctl before them.
type world struct {
	t      *testing.T
	ac     *devauth.Server
	acHTTP *httptest.Server
	// acDate is what the auth controller shows as its time; nil: the true one.
	acDate func() time.Time
	cfg    daemon.Config
	server *daemon.Server
	stop   func()
	conn   *grpc.ClientConn
	env    map[string]string
	// change changes what a command has of its process.
	change func(*operatorcli.Process)

	mu sync.Mutex
	// printed is everything that was printed, but for tokens that were asked for.
	printed bytes.Buffer
}

func newWorld(t *testing.T, databaseURL string, change ...func(*daemon.Config)) *world {
	t.Helper()
	w := &world{t: t, change: func(*operatorcli.Process) {}}
	ac, err := devauth.New("", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	w.ac = ac
	w.acHTTP = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if w.acDate != nil {
			rw.Header().Set("Date", w.acDate().UTC().Format(http.TimeFormat))
		}
		ac.ServeHTTP(rw, r)
	}))
	t.Cleanup(w.acHTTP.Close)
	// Not just any: some tests stop it and start it again.
	addresses, err := freeport.Find(2)
	if err != nil {
		t.Fatal(err)
	}
	cfg := daemon.DefaultConfig()
	cfg.DatabaseURL, cfg.BindAddress, cfg.GRPCBindAddress = databaseURL, addresses[0], addresses[1]
	cfg.JWKSURL, cfg.ShutdownTimeout, cfg.RateLimitPerMinute = w.acHTTP.URL+"/.well-known/jwks.json", 5*time.Second, 1_000_000
	for _, one := range change {
		one(&cfg)
	}
	w.cfg = cfg
	w.run()
	t.Cleanup(func() { w.stop() })
	if w.conn, err = grpc.NewClient(w.server.GRPCAddress(), grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.conn.Close() })
	w.env = map[string]string{
		"HOME": t.TempDir(), "GCCTL_ADDRESS": w.server.GRPCAddress(), "GCCTL_HTTP_ADDRESS": w.server.HTTPAddress(), "GCCTL_AC": w.acHTTP.URL,
	}
	t.Cleanup(w.holdsItsTongue)
	w.until("ready", func() bool {
		code, _ := w.get("/ready", "")
		return code == http.StatusOK
	})
	return w
}

// run runs the Global Controller, after a stop once more, and where it was.
func (w *world) run() {
	w.t.Helper()
	server, err := daemon.New(w.cfg, log.NewNopLogger())
	if err != nil {
		w.t.Fatal(err)
	}
	w.server = server
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("Run() = %v, want nil", err)
		}
	})
}

// holdsItsTongue holds that no secret and no token was printed where none was asked for.
func (w *world) holdsItsTongue() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, secret := range []string{"dev-admin-secret", "dev-reader-secret", "dev-mc-secret", "eyJ"} {
		if strings.Contains(w.printed.String(), secret) {
			w.t.Errorf("%q was printed:\n%s", secret, w.printed.String())
		}
	}
}

func (w *world) until(what string, holds func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// ran is how a command ended.
type ran struct {
	code     int
	out, err string
}

// process is what a command has that no terminal is attached to.
func (w *world) process(out, errs io.Writer) operatorcli.Process {
	p := operatorcli.Process{
		In: strings.NewReader(""), Out: out, Err: errs, Env: func(name string) string { return w.env[name] }, Now: time.Now,
		Size: func() (int, int) { return 200, 40 }, Version: daemon.Version,
	}
	w.change(&p)
	return p
}

func (w *world) gcctl(args ...string) ran {
	w.t.Helper()
	var out, errs bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	code := operatorcli.Execute(ctx, args, w.process(&out, &errs))
	w.record(args, out.String(), errs.String())
	return ran{code, out.String(), errs.String()}
}

func (w *world) record(args []string, out, errs string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.printed.WriteString(errs)
	if args[0] != "token" {
		w.printed.WriteString(out)
	}
}

// want runs a command and holds its exit code.
func (w *world) want(code int, args ...string) ran {
	w.t.Helper()
	got := w.gcctl(args...)
	if got.code != code {
		w.t.Fatalf("gcctl %s = %d, want %d\n%s%s", strings.Join(args, " "), got.code, code, got.out, got.err)
	}
	return got
}

// typing has commands be in a terminal in which somebody types.
func (w *world) typing(in io.Reader) {
	w.change = func(p *operatorcli.Process) { p.In, p.InTerminal, p.ErrTerminal, p.OutTerminal = in, true, true, true }
}

// running is a command that stays until it is interrupted.
type running struct {
	w         *world
	args      []string
	out, errs *lockedBuffer
	cancel    context.CancelFunc
	ended     chan int
}

func (w *world) start(args ...string) *running {
	w.t.Helper()
	r := &running{w: w, args: args, out: &lockedBuffer{}, errs: &lockedBuffer{}, ended: make(chan int, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	p := w.process(r.out, r.errs)
	go func() { r.ended <- operatorcli.Execute(ctx, args, p) }()
	w.t.Cleanup(cancel)
	return r
}

// end waits for the end, and returns the exit code.
func (r *running) end() int {
	r.w.t.Helper()
	select {
	case code := <-r.ended:
		r.w.record(r.args, r.out.String(), r.errs.String())
		return code
	case <-time.After(patience):
		r.w.t.Fatalf("gcctl %v did not end\n%s%s", r.args, r.out, r.errs)
		return -1
	}
}

func (r *running) interrupt() int {
	r.w.t.Helper()
	r.cancel()
	return r.end()
}

// get reads a path over HTTP as a client.
func (w *world) get(path, client string) (int, []byte) {
	w.t.Helper()
	scheme := "http://"
	if w.cfg.TLSCertFile != "" {
		scheme = "https://"
	}
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, scheme+w.server.HTTPAddress()+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if client != "" {
		request.Header.Set("Authorization", "Bearer "+w.token(client, "gc:read"))
	}
	response, err := (&http.Client{Transport: insecureTransport()}).Do(request)
	if err != nil {
		return 0, nil
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return response.StatusCode, body
}

func (w *world) token(subject, scope string) string {
	w.t.Helper()
	token, err := w.ac.Token(subject, map[string]any{"scope": scope})
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

// mc is a meeting controller.
type mc struct {
	id, region        string
	meetings, most    uint32
	health            pb.HealthStatus
	people, mostOfAll uint32
}

func controllerOf(id, region string, meetings uint32) mc {
	return mc{id: id, region: region, meetings: meetings, most: 100, health: pb.HealthStatus_HEALTH_STATUS_HEALTHY, people: meetings * 5, mostOfAll: 5000}
}

// register registers controllers and reports for each.
func (w *world) register(controllers ...mc) {
	w.t.Helper()
	for _, c := range controllers {
		_, err := pb.NewGlobalControllerServiceClient(w.conn).RegisterMC(w.asMC(), &pb.RegisterMCRequest{
			Id: c.id, Region: c.region, GrpcEndpoint: "http://" + c.id + ".example:50052", WebtransportEndpoint: "https://" + c.id + ".example:4433",
			MaxMeetings: c.most, MaxParticipants: c.mostOfAll,
		})
		if err != nil {
			w.t.Fatalf("register %s: %v", c.id, err)
		}
		w.beat(c)
	}
}

func (w *world) beat(c mc) {
	w.t.Helper()
	_, err := pb.NewGlobalControllerServiceClient(w.conn).ComprehensiveHeartbeat(w.asMC(), &pb.ComprehensiveHeartbeatRequest{
		ControllerId: c.id, Health: c.health, CpuUsagePercent: 12, MemoryUsagePercent: 34,
		Capacity: &pb.ControllerCapacity{MaxMeetings: c.most, CurrentMeetings: c.meetings, MaxParticipants: c.mostOfAll, CurrentParticipants: c.people},
	})
	if err != nil {
		w.t.Fatalf("heartbeat of %s: %v", c.id, err)
	}
}

func (w *world) asMC() context.Context {
	return metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+w.token("dev-mc", "mc:register"))
}

// threeEach registers three controllers in each of two regions.
func (w *world) threeEach() {
	w.t.Helper()
	for _, region := range []string{"eu", "us"} {
		for i := range uint32(3) {
			w.register(controllerOf(fmt.Sprintf("mc-%s-%d", region, i+1), region, 10*(i+1)))
		}
	}
}

// decoded reads JSON that a command printed.
func decoded[T any](t *testing.T, text string) (value T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return value
}

// file writes a file that nobody else may read.
func (w *world) file(name, text string) string {
	w.t.Helper()
	path := filepath.Join(w.t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

func contains(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s: %q is missing in\n%s", what, part, text)
		}
	}
}
