//go:build !race

package e2e

import (
	"bufio"
	"context"
	"database/sql"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"darktower.example/global-controller/internal/testpg"
	fleetpb "darktower.example/global-controller/proto/globalcontroller/v1"
)

var (
	sizeControllers = flag.Int("watch.controllers", 0, "measure watches over this many controllers; 0: not at all")
	sizeReaders     = flag.Int("watch.readers", 1000, "how many watches resume at once")
	sizeBehind      = flag.Int("watch.behind", 4900, "how many changes ago they ended")
)

// watchProcessEnv has the test program be the readers, in a process of their own: ADDRESS TOKEN NUMBER AFTER HOW.
const watchProcessEnv = "GC_TEST_READERS"

// TestWatchAtSize measures what 1,000 watches that resume cost a controller that beats meanwhile, and the server's memory.
// The daemon and the readers are processes of their own.
func TestWatchAtSize(t *testing.T) {
	if *sizeControllers == 0 {
		return // It takes minutes and measures, which the tests beside it would spoil.
	}
	url := testpg.URL(t)
	i := newIssuer(t)
	environment := []string{
		"DATABASE_URL=" + url, "AC_JWKS_URL=" + i.server.URL, "RATE_LIMIT_RPM=100000000", "MC_STALENESS_THRESHOLD_SECONDS=3600", "GC_PPROF_ADDRESS=127.0.0.1:0",
	}
	env := newProcessEnvironment(t, i, startProcess(t, environment...)).waitReady()
	newest := seedFleet(t, url, *sizeControllers)
	after := newest - int64(*sizeBehind)

	_, alone := env.measureHeartbeats(5*time.Second, nil)
	t.Logf("heartbeats alone: %s", percentiles(alone))

	for _, how := range []string{"read", "hold", "hold-grpc"} {
		before := env.readHeapSize(t)
		r := startWatchProcess(t, env, *sizeReaders, after, how)
		if how == "read" {
			began := time.Now()
			_, beats := env.measureHeartbeats(time.Minute, r.done)
			t.Logf("heartbeats while %d watches resume (%v): %s; p99 %.1f times that alone", *sizeReaders, time.Since(began).Round(time.Millisecond), percentiles(beats),
				float64(percentile(beats, 99))/float64(percentile(alone, 99)))
		} else {
			<-r.joined
			time.Sleep(5 * time.Second) // What can be sent has been; who reads nothing is cut off after 10 s.
			grown := env.readHeapSize(t) - before
			t.Logf("%s: %d KiB for each of %d readers that read nothing", how, grown/int64(*sizeReaders)>>10, *sizeReaders)
		}

		t.Logf("%s: %s", how, r.finish())
	}

	time.Sleep(2 * time.Second)

	// Announcements, while another storm goes on.
	seen := &firstTimes{at: map[string]time.Time{}}
	watching := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()

	go env.watchTransitions(ctx, &fleetpb.WatchRequest{}, watching, seen.record)
	<-watching
	began := &firstTimes{at: map[string]time.Time{}}

	for _, storm := range []bool{false, true} {
		var r *watchProcess
		if storm {
			r = startWatchProcess(t, env, *sizeReaders, after, "read")
		}
		var took []time.Duration

		for n := range 150 {
			id := fmt.Sprintf("seed-%06d", n+150*int(toInt(storm))+2)
			began.record(id)
			env.heartbeat(id, with(fastHeartbeat(), "health", 2))
			env.waitFor("the change", func() bool { seen.mu.Lock(); defer seen.mu.Unlock(); return !seen.at[id].IsZero() })
			took = append(took, seen.at[id].Sub(began.at[id]))
			time.Sleep(20 * time.Millisecond)
		}

		t.Logf("a change reaches a watch (while %d resume: %v): %s", *sizeReaders, storm, percentiles(took))
		if storm {
			t.Logf("read: %s", r.finish())
		}
	}
}

func toInt(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// seedFleet fills the store and returns the newest id of its history.
func seedFleet(t *testing.T, url string, controllers int) (newest int64) {
	t.Helper()
	db, err := sql.Open("postgres", url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()

	for _, statement := range []string{
		`INSERT INTO meeting_controllers (controller_id, region, endpoint, grpc_endpoint, webtransport_endpoint, max_meetings, max_participants, health_status, reported_status)
			SELECT 'seed-' || lpad(n::text, 6, '0'), 'eu-west-1', 'http://mc-' || n || '.example:50052', 'http://mc-' || n || '.example:50052', 'https://mc-' || n || '.example:4433',
			100, 1000, 'healthy', 'healthy' FROM generate_series(1, ` + strconv.Itoa(controllers) + `) AS n`,
		`INSERT INTO controller_transitions (controller_id, region, from_status, to_status, cause, actor, reason, silence_ms, reported_status)
			SELECT 'seed-' || lpad((n % 5000 + 1)::text, 6, '0'), 'eu-west-1', 'degraded', 'healthy', 'heartbeat', 'client-1', 'reported healthy', 10000, 'healthy'
			FROM generate_series(1, 10000) AS n`,
		`ANALYZE`,
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}

	if err := db.QueryRowContext(t.Context(), `SELECT max(id) FROM controller_transitions`).Scan(&newest); err != nil {
		t.Fatal(err)
	}
	return newest
}

// measureHeartbeats sends a heartbeat each 20 ms, each of which changes the controller's state, for as long as that, or until
// done is closed.
func (env *environment) measureHeartbeats(long time.Duration, done <-chan struct{}) (n int, took []time.Duration) {
	for end := time.Now().Add(long); time.Now().Before(end); n++ {
		select {
		case <-done:
			return n, took
		default:
		}
		began := time.Now()
		env.heartbeat("seed-000001", with(fastHeartbeat(), "health", 1+n%2))
		took = append(took, time.Since(began))
		time.Sleep(20 * time.Millisecond)
	}
	return n, took
}

func percentile(took []time.Duration, p int) time.Duration {
	sorted := slices.Sorted(slices.Values(took))
	return sorted[(len(sorted)-1)*p/100]
}

func percentiles(took []time.Duration) string {
	return fmt.Sprintf("%d, p50 %v, p99 %v, at most %v", len(took), percentile(took, 50), percentile(took, 99), percentile(took, 100))
}

// readHeapSize returns how many bytes the daemon's heap and stacks hold after a collection.
func (env *environment) readHeapSize(t *testing.T) (bytes int64) {
	t.Helper()
	response, err := http.Get("http://" + env.profileAddress() + "/debug/pprof/heap?gc=1")
	if err != nil {
		t.Fatal(err)
	}

	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()

	for line := range strings.Lines(env.get("/metrics", "").body) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "go_memstats_heap_alloc_bytes" || name == "go_memstats_stack_inuse_bytes" {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			bytes += int64(n)
		}
	}

	return bytes
}

// watchProcess is a process that has many watches.
type watchProcess struct {
	stdin        io.Closer
	out          []string
	cmd          *exec.Cmd
	joined, done chan struct{} // All were let in or refused; all were sent everything.
}

func startWatchProcess(t *testing.T, env *environment, n int, after int64, how string) *watchProcess {
	t.Helper()
	address := env.httpAddress
	if how == "hold-grpc" {
		address = env.conn.Target()
	}

	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWatchAtSize_Readers$", "-test.v")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d %d %s", watchProcessEnv, address, env.readerToken(), n, after, how))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}

	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}

	r := &watchProcess{stdin: stdin, cmd: cmd, joined: make(chan struct{}), done: make(chan struct{})}

	go func() {
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "joined") {
				r.out = append(r.out, lines.Text())
				close(r.joined)
			}
			if strings.HasPrefix(lines.Text(), "whole") {
				r.out = append(r.out, lines.Text())
				close(r.done)
			}
		}
	}()

	return r
}

func (r *watchProcess) finish() string {
	_ = r.stdin.Close()
	_ = r.cmd.Wait()
	return strings.Join(r.out, "; ")
}

// TestWatchAtSize_Readers is the process of the readers.
func TestWatchAtSize_Readers(*testing.T) {
	var (
		address, token, how string
		n                   int
		after               int64
	)

	if _, err := fmt.Sscan(os.Getenv(watchProcessEnv), &address, &token, &n, &after, &how); err != nil {
		return // It is not asked for.
	}
	began := time.Now()
	var (
		joined, refused, whole, lost, bytes atomic.Int64
		joins, reads                        sync.WaitGroup
	)

	for range n {
		joins.Add(1)
		reads.Add(1)

		go func() {
			defer reads.Done()

			ok := func(err error) bool {
				defer joins.Done()

				if err != nil {
					if refused.Add(1) == 1 {
						fmt.Fprintln(os.Stderr, "refused:", err)
					}
					return false
				}

				joined.Add(1)
				return true
			}

			if how == "hold-grpc" {
				holdGRPC(address, token, after, ok)
				return
			}
			conn, err := net.Dial("tcp", address)
			if err == nil {
				_, err = fmt.Fprintf(conn, "GET /api/v1/watch HTTP/1.1\r\nHost: gc\r\nAuthorization: Bearer %s\r\nLast-Event-ID: %d\r\n\r\n", token, after)
			}

			var lines *bufio.Reader
			if err == nil {
				lines = bufio.NewReaderSize(conn, 4096)
				var status string
				if status, err = lines.ReadString('\n'); err == nil && !strings.Contains(status, " 200 ") {
					err = fmt.Errorf("%s", status)
				}
			}
			if !ok(err) || how == "hold" {
				return
			}

			buffer := make([]byte, 64<<10)

			for last := ""; ; {
				read, err := lines.Read(buffer)
				if err != nil {
					lost.Add(1)
					return
				}

				bytes.Add(int64(read))
				text := last + string(buffer[:read])
				if containsNewerID(text, after) {
					whole.Add(1)
					break // The id comes with the last part.
				}

				last = text[max(0, len(text)-20):]
			}

			reads.Add(1)
			go func() { defer reads.Done(); _, _ = io.Copy(io.Discard, lines) }()
		}()
	}

	joins.Wait()
	fmt.Printf("joined %d, refused %d after %v\n", joined.Load(), refused.Load(), time.Since(began).Round(time.Millisecond))

	go func() {
		for how == "read" && whole.Load()+lost.Load()+refused.Load() < int64(n) {
			time.Sleep(10 * time.Millisecond)
		}
		fmt.Printf("whole %d, lost %d after %v and %d MiB\n", whole.Load(), lost.Load(), time.Since(began).Round(time.Millisecond), bytes.Load()>>20)
	}()

	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// containsNewerID reports whether an event has an id above the one given.
func containsNewerID(text string, after int64) bool {
	for {
		at := strings.Index(text, "id: ")
		if at < 0 {
			return false
		}
		digits := text[at+4:]
		if end := strings.IndexByte(digits, '\n'); end > 0 {
			if id, err := strconv.ParseInt(digits[:end], 10, 64); err == nil && id > after {
				return true
			}
		}
		text = digits
	}
}

// holdGRPC opens a watch over a connection of its own, and reads nothing.
func holdGRPC(address, token string, after int64, ok func(error) bool) {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		ok(err)
		return
	}
	ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+token)
	id := uint64(after)
	stream, err := fleetpb.NewFleetServiceClient(conn).Watch(ctx, &fleetpb.WatchRequest{After: &id})
	if err == nil {
		_, err = stream.Header()
	}
	ok(err)
}
