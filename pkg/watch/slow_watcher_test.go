package watch

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-kit/kit/endpoint"
	"github.com/go-kit/log"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"darktower.example/global-controller/endpoints"
	pb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
	grpctransport "darktower.example/global-controller/transport/grpc"
	httptransport "darktower.example/global-controller/transport/http"
)

// TestHub_SlowWatchersRestartWithSnapshot: watchers of both transports read nothing while the fleet changes often. Their cost in memory is
// limited, and when they read again they get a snapshot.
func TestHub_SlowWatchersRestartWithSnapshot(t *testing.T) {
	source := newFakeSource()
	observer := &countingObserver{}
	hub := New(Config{Source: source, Observer: observer, Logger: log.NewNopLogger()})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- hub.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
	}()

	noMiddleware := func(endpoints.Operation) endpoint.Middleware {
		return func(e endpoint.Endpoint) endpoint.Endpoint { return e }
	}

	e := endpoints.New(service.New(nil, service.Intervals{Fast: time.Second}, nil, hub), noMiddleware)
	web := httptest.NewServer(httptransport.NewHandler(e, httptransport.Config{
		Logger:   log.NewNopLogger(),
		Metrics:  http.NotFoundHandler(),
		Shutdown: ctx,
	}))
	defer web.Close()

	rpc := grpctransport.NewServer(e, grpctransport.Config{Logger: log.NewNopLogger()})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	go func() { _ = rpc.Serve(listener) }()
	defer rpc.Stop()
	defer web.CloseClientConnections()
	defer cancel() // The servers wait for their watches, which end with the hub.

	const fleet, watchers, rounds = 500, 10, 60
	id := int64(0)
	changeAll := func() {
		for i := range fleet {
			id++
			c := newController(fmt.Sprintf("mc-%03d", i), "eu", service.HealthStatuses()[id%5])
			c.GRPCEndpoint = "http://" + strings.Repeat("long.", 40) + "example:50051"
			source.put(c)
			source.appendUnannounced(id, c.ControllerID)
		}
		source.announce(service.Announcement{})
		deadline := time.Now().Add(20 * time.Second)
		for highestKnownID(hub) < id && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
	}

	source.change(1, newController("mc-000", "eu", service.HealthPending))
	id = 1
	var readers []func() (kind, reason, health string) // one for each watcher
	for range watchers {
		readers = append(readers, readHTTP(t, web.Listener.Addr().String()), readGRPC(t, listener.Addr().String()))
	}

	for _, read := range readers {
		if kind, reason, _ := read(); kind != "snapshot" || reason != service.SnapshotStart {
			t.Fatalf("the first event is a %s with the reason %q, want a snapshot", kind, reason)
		}
	}

	before := measureHeap()
	for range rounds {
		changeAll()
	}

	// There were 30,000 changes. The log keeps 20,000 of them with their encodings.
	if grown := measureHeap() - before; grown > 150<<20 {
		t.Errorf("the heap has grown by %d MiB, want at most 150", grown>>20)
	} else {
		t.Logf("the heap has grown by %d MiB for %d watchers that missed %d changes", grown>>20, len(readers), id)
	}

	// The watchers read concurrently, because the server closes a connection that is not read for 10 s.
	var all sync.WaitGroup
	for i, read := range readers {
		all.Go(func() {
			for lagged, last := false, ""; last != string(service.HealthStatuses()[id%5]) || !lagged; {
				kind, reason, health := read()
				if kind == "" {
					t.Errorf("watcher %d got no snapshot because of lag, or not the present fleet", i)
					return
				}
				lagged, last = lagged || reason == service.SnapshotLagged, health
			}
		})
	}

	all.Wait()
	if observer.laggedCount() != len(readers) {
		t.Errorf("%d watches lagged, want all %d", observer.laggedCount(), len(readers))
	}
}

func highestKnownID(h *Hub) int64 {
	v := h.view.Load()
	if v.epoch == nil {
		return 1 << 62 // There is no watch yet.
	}
	return v.highestID
}

func measureHeap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// readHTTP opens a watch and returns a function that reads its next event. The function returns the event's kind, the reason of a
// snapshot, and the state of the last controller in it. All are empty at the end of the stream.
func readHTTP(t *testing.T, address string) func() (kind, reason, health string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatalf("dial: %v", err)
	}

	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	_, _ = fmt.Fprintf(conn, "GET /api/v1/watch HTTP/1.1\r\nHost: gc\r\n\r\n")
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("watch: %v", err)
	}

	lines := bufio.NewReader(response.Body)
	return func() (kind, reason, health string) {
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return "", "", ""
			}
			switch name, value, _ := strings.Cut(strings.TrimSpace(line), ": "); name {
			case "event":
				kind = value
			case "data":
				reason, health = parseData(t, value)
				return kind, reason, health
			}
		}
	}
}

// parseData returns the reason of a snapshot, and the state of the last controller in an event.
func parseData(t *testing.T, data string) (reason, health string) {
	t.Helper()
	var body struct {
		Reason      string
		Controllers []struct{ Health string }
		Changes     []struct{ Controller struct{ Health string } }
	}
	if err := json.Unmarshal([]byte(data), &body); err != nil {
		t.Errorf("%s: %v", data, err)
	}

	if n := len(body.Controllers); n > 0 {
		health = body.Controllers[n-1].Health
	}
	if n := len(body.Changes); n > 0 {
		health = body.Changes[n-1].Controller.Health
	}
	return body.Reason, health
}

// readGRPC does the same as readHTTP over gRPC.
func readGRPC(t *testing.T, address string) func() (kind, reason, health string) {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatalf("dial: %v", err)
	}

	t.Cleanup(func() { _ = conn.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	stream, err := pb.NewFleetServiceClient(conn).Watch(ctx, &pb.WatchRequest{})
	if err != nil {
		t.Fatalf("watch: %v", err)
	}

	stateName := func(h pb.Health) string { return strings.ToLower(strings.TrimPrefix(h.String(), "HEALTH_")) }
	return func() (kind, reason, health string) {
		e, err := stream.Recv()
		switch {
		case err != nil:
			return "", "", ""
		case e.GetSnapshot() != nil:
			if all := e.GetSnapshot().GetControllers(); len(all) > 0 {
				health = stateName(all[len(all)-1].GetHealth())
			}
			return "snapshot", e.GetSnapshot().GetReason(), health
		case e.GetChanges() != nil:
			all := e.GetChanges().GetChanges()
			return "changes", "", stateName(all[len(all)-1].GetController().GetHealth())
		default:
			return "other", "", ""
		}
	}
}
