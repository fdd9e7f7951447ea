//go:build !race

package e2e

import (
	"bufio"
	"context"
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

	fleetpb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// watchProcessEnv makes the test program open watches in a process of its own. Its value is ADDRESS TOKEN NUMBER AFTER MODE.
const watchProcessEnv = "GC_TEST_READERS"

// What a process does with its watches.
const (
	modeRead     = "read"      // It reads each until the changes that were missed are complete.
	modeHold     = "hold"      // It opens them over HTTP and reads nothing.
	modeHoldGRPC = "hold-grpc" // The same over gRPC, with a connection for each.
)

// maxCursorLine is more than the length of an event's line with its id, which two reads may divide.
const maxCursorLine = 64

// watchProcess is a process that has many watches.
type watchProcess struct {
	stdin    io.Closer
	cmd      *exec.Cmd
	lines    []string
	opened   chan struct{} // Closed when each watch was opened or refused.
	complete chan struct{} // Closed when each watch is complete or has ended.
}

func startWatchProcess(t *testing.T, env *environment, watches int, after int64, mode string) *watchProcess {
	t.Helper()
	address := env.httpAddress
	if mode == modeHoldGRPC {
		address = env.conn.Target()
	}

	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWatch_SizeProcess$", "-test.v")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d %d %s", watchProcessEnv, address, env.readerToken(), watches, after, mode))
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

	p := &watchProcess{stdin: stdin, cmd: cmd, opened: make(chan struct{}), complete: make(chan struct{})}
	go func() {
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			line := lines.Text()
			switch {
			case strings.HasPrefix(line, "opened"):
				p.lines = append(p.lines, line)
				close(p.opened)
			case strings.HasPrefix(line, "complete"):
				p.lines = append(p.lines, line)
				close(p.complete)
			}
		}
	}()
	return p
}

// finish ends the process and returns its report.
func (p *watchProcess) finish() string {
	_ = p.stdin.Close()
	_ = p.cmd.Wait()
	return strings.Join(p.lines, "; ")
}

// watchCounts are the counts of a watch process.
type watchCounts struct {
	opened, refused, complete, lost, bytes atomic.Int64

	opening sync.WaitGroup
}

// addOpened counts a watch that was opened, or refused with err.
func (c *watchCounts) addOpened(err error) {
	defer c.opening.Done()
	if err == nil {
		c.opened.Add(1)
	} else if c.refused.Add(1) == 1 {
		fmt.Fprintln(os.Stderr, "refused:", err)
	}
}

// TestWatch_SizeProcess is the main function of a watch process.
func TestWatch_SizeProcess(*testing.T) {
	var (
		address, token, mode string
		watches              int
		after                int64
	)
	if _, err := fmt.Sscan(os.Getenv(watchProcessEnv), &address, &token, &watches, &after, &mode); err != nil {
		return // This is the process of the test itself.
	}

	began := time.Now()
	counts := &watchCounts{}
	for range watches {
		counts.opening.Add(1)
		go func() {
			if mode == modeHoldGRPC {
				counts.addOpened(openWatchGRPC(address, token, after))
				return
			}
			stream, err := openWatchHTTP(address, token, after)
			counts.addOpened(err)
			if err == nil && mode == modeRead {
				counts.readUntilComplete(stream, after)
			}
		}()
	}
	counts.opening.Wait()
	fmt.Printf("opened %d, refused %d after %v\n", counts.opened.Load(), counts.refused.Load(), time.Since(began).Round(time.Millisecond))

	go func() {
		for mode == modeRead && counts.complete.Load()+counts.lost.Load()+counts.refused.Load() < int64(watches) {
			time.Sleep(10 * time.Millisecond)
		}
		fmt.Printf("complete %d, lost %d after %v and %d MiB\n",
			counts.complete.Load(), counts.lost.Load(), time.Since(began).Round(time.Millisecond), counts.bytes.Load()>>20)
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// openWatchHTTP opens a watch over a plain connection, which costs less than a client of net/http.
func openWatchHTTP(address, token string, after int64) (*bufio.Reader, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	const request = "GET /api/v1/watch HTTP/1.1\r\nHost: gc\r\nAuthorization: Bearer %s\r\nLast-Event-ID: %d\r\n\r\n"
	if _, err := fmt.Fprintf(conn, request, token, after); err != nil {
		return nil, err
	}

	stream := bufio.NewReaderSize(conn, 4096)
	status, err := stream.ReadString('\n')
	if err == nil && !strings.Contains(status, " 200 ") {
		err = fmt.Errorf("%s", status)
	}
	return stream, err
}

// openWatchGRPC opens a watch over a connection of its own, and reads nothing.
func openWatchGRPC(address, token string, after int64) error {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+token)
	stream, err := fleetpb.NewFleetServiceClient(conn).Watch(ctx, &fleetpb.WatchRequest{After: new(uint64(after))})
	if err == nil {
		_, err = stream.Header()
	}
	return err
}

// readUntilComplete reads until an event has a later id than the one after which the watch resumed. Then it reads on.
func (c *watchCounts) readUntilComplete(stream *bufio.Reader, after int64) {
	buffer := make([]byte, 64<<10)
	for rest := ""; ; {
		n, err := stream.Read(buffer)
		if err != nil {
			c.lost.Add(1)
			return
		}
		c.bytes.Add(int64(n))
		text := rest + string(buffer[:n])
		if containsNewerID(text, after) { // The id comes with the last part of the missed changes.
			break
		}
		rest = text[max(0, len(text)-maxCursorLine):]
	}

	c.complete.Add(1)
	_, _ = io.Copy(io.Discard, stream)
}

// containsNewerID reports whether an event of a text has an id above the one given.
func containsNewerID(text string, after int64) bool {
	for {
		_, rest, ok := strings.Cut(text, "id: ")
		if !ok {
			return false
		}
		if cursor, _, ok := strings.Cut(rest, "\n"); ok {
			digits, _, _ := strings.Cut(cursor, "-") // The history's fingerprint follows.
			if id, err := strconv.ParseInt(digits, 10, 64); err == nil && id > after {
				return true
			}
		}
		text = rest
	}
}

// seedFleet fills the store and returns the newest id of its history.
func seedFleet(t *testing.T, url string, controllers int) (newest int64) {
	t.Helper()
	execute(
		t, url,
		`INSERT INTO meeting_controllers (controller_id, region, endpoint, grpc_endpoint, webtransport_endpoint, max_meetings,
			max_participants, health_status, reported_status)
			SELECT 'seed-' || lpad(n::text, 6, '0'), 'eu-west-1', 'http://mc-' || n || '.example:50052',
			'http://mc-' || n || '.example:50052', 'https://mc-' || n || '.example:4433', 100, 1000, 'healthy', 'healthy'
			FROM generate_series(1, `+strconv.Itoa(controllers)+`) AS n`,
		`INSERT INTO controller_transitions (controller_id, region, from_status, to_status, cause, actor, reason, silence_ms,
			reported_status)
			SELECT 'seed-' || lpad((n % 5000 + 1)::text, 6, '0'), 'eu-west-1', 'degraded', 'healthy', 'heartbeat', 'client-1',
			'reported healthy', 10000, 'healthy' FROM generate_series(1, 10000) AS n`,
		`ANALYZE`,
	)
	return int64(queryCount(t, openDatabase(t, url), `SELECT max(id) FROM controller_transitions`))
}

// measureHeartbeats sends a heartbeat each 20 ms, each of which changes the controller's state, for a time or until done is
// closed. It returns how long each took.
func (env *environment) measureHeartbeats(duration time.Duration, done <-chan struct{}) (took []time.Duration) {
	for end := time.Now().Add(duration); time.Now().Before(end); {
		select {
		case <-done:
			return took
		default:
		}
		began := time.Now()
		env.heartbeat("seed-000001", with(fastHeartbeat(), "health", 1+len(took)%2))
		took = append(took, time.Since(began))
		time.Sleep(20 * time.Millisecond)
	}
	return took
}

func percentile(took []time.Duration, p int) time.Duration {
	sorted := slices.Sorted(slices.Values(took))
	return sorted[(len(sorted)-1)*p/100]
}

func percentiles(took []time.Duration) string {
	return fmt.Sprintf("%d, p50 %v, p99 %v, at most %v", len(took), percentile(took, 50), percentile(took, 99), percentile(took, 100))
}

// readHeapSize returns how many bytes the server's heap and stacks hold after a collection.
func (env *environment) readHeapSize() int64 {
	env.t.Helper()
	response, err := http.Get("http://" + env.profileAddress() + "/debug/pprof/heap?gc=1")
	if err != nil {
		env.t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()

	heap, _ := env.readMetric("go_memstats_heap_alloc_bytes")
	stacks, _ := env.readMetric("go_memstats_stack_inuse_bytes")
	return int64(heap + stacks)
}
