package client

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"

	darktowerv1 "darktower.example/global-controller/proto/darktower/v1"
)

// serve has a server serve until the test ends, and returns where.
func serve(t *testing.T, server *grpc.Server) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

func TestClientsThatShareAConnectionReplaceItOnce(t *testing.T) {
	t.Parallel()
	first, second := startGC(t, true), startGC(t, true)
	connection, err := NewConnection([]string{first.address, second.address}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	const size = 20
	var transports []*grpcTransport
	for i := range size {
		cfg := testConfig()
		cfg.ControllerID = fmt.Sprintf("mc-%d", i)
		transport := direct(t, cfg, connection)
		beat(t, transport, codes.OK)
		transports = append(transports, transport)
	}
	first.server.Stop()
	var all sync.WaitGroup
	for _, transport := range transports {
		all.Go(func() { beat(t, transport, codes.OK) }) // Each is tried again at once, as there is another address.
	}
	all.Wait()
	if connection.address != 1 || len(connection.links) != 1 || connection.current[1].users != size+1 {
		t.Errorf("at address %d with %d links, want the second and one: all failed together", connection.address, len(connection.links))
	}
	if n, _ := second.opened(); n != size {
		t.Errorf("%d streams at the second, want %d", n, size)
	}
}

func TestALinkIsClosedAfterItsLastUser(t *testing.T) {
	t.Parallel()
	connection, err := NewConnection([]string{"127.0.0.1:1", "localhost:2"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	first, err := connection.acquire(sharedAddress)
	if err != nil {
		t.Fatal(err)
	}
	if !connection.holdStream(first) {
		t.Error("there is no room for a stream")
	}
	if !connection.replace(first) || connection.replace(first) {
		t.Error("replace() was not told from the second time")
	}
	second, err := connection.acquire(sharedAddress)
	if err != nil || second == first || second.conn.Target() != "dns:///localhost:2" {
		t.Fatalf("acquire() = %v, %v, want another", second, err)
	}
	connection.releaseStream(first)
	if !connection.links[first] {
		t.Error("closed under a call")
	}
	connection.release(first)
	if connection.links[first] || !connection.links[second] {
		t.Error("not closed after the last call")
	}
	if err := connection.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
	connection.release(second)
	if _, err := connection.acquire(sharedAddress); !errors.Is(err, errClosed) {
		t.Errorf("acquire() = %v, want %v", err, errClosed)
	}
	if err := beatErr(t, direct(t, testConfig(), connection), codes.Unavailable); !errors.Is(err, errClosed) {
		t.Errorf("heartbeat = %v, want %v", err, errClosed)
	}
}

func TestAConnectionThatIsClosedUnderACall(t *testing.T) {
	t.Parallel()
	gc := startGC(t, false)
	connection, err := NewConnection([]string{gc.address}, nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := direct(t, testConfig(), connection)
	thaw := make(chan struct{})
	gc.answers(func(seen) error {
		_ = connection.Close()
		<-thaw
		return nil
	})
	beat(t, transport, codes.Unavailable)
	close(thaw)
}

func TestOverTLS(t *testing.T) {
	t.Parallel()
	web := httptest.NewUnstartedServer(nil) // For its certificate.
	web.StartTLS()
	t.Cleanup(web.Close)
	gc := &fakeGC{calls: make(chan seen, 10)}
	server := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&web.TLS.Certificates[0])))
	darktowerv1.RegisterGlobalControllerServiceServer(server, gc)
	cfg := testConfig(serve(t, server))
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	cfg.TLS = &tls.Config{RootCAs: roots, ServerName: "example.com", MinVersion: tls.VersionTLS12}
	r := run(t, cfg)
	r.event(t, EventRegistered)
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for _, addresses := range [][]string{nil, {""}, {"gc"}, {"gc:"}, {"gc:1", "http://gc:1"}, {"::1:5"}} {
		if _, err := NewConnection(addresses, nil); err == nil {
			t.Errorf("NewConnection(%q) = nil, want an error", addresses)
		}
	}
	for address, want := range map[string]string{"[::1]:5": "passthrough:///[::1]:5", "127.0.0.1:5": "passthrough:///127.0.0.1:5", "gc:5": "dns:///gc:5"} {
		if got := target(address); got != want {
			t.Errorf("target(%s) = %s, want %s", address, got, want)
		}
	}
}

func TestALinkCarriesOnlySoManyStreams(t *testing.T) {
	t.Parallel()
	gc := startGC(t, true)
	connection, err := NewConnection([]string{gc.address}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	late := direct(t, testConfig(), connection)
	beat(t, late, codes.OK)
	late.closeStream()
	connection.current[0].streams = maxStreams // As if so many others had one.
	beat(t, late, codes.OK)
	if late.stream != nil {
		t.Error("there is one stream too many")
	}
	connection.current[0].streams--
	beat(t, late, codes.OK)
	if late.stream == nil {
		t.Error("there is no stream, want one as there is room again")
	}
}
