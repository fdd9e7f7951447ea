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

// serve runs a server until the test ends, and returns its address.
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

func TestConnection_SharedLinkIsReplacedOnce(t *testing.T) {
	t.Parallel()
	first, second := startGlobalController(t, true), startGlobalController(t, true)
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
		transport := newTestTransport(t, cfg, connection)
		checkHeartbeat(t, transport, codes.OK)
		transports = append(transports, transport)
	}

	first.server.Stop()
	var all sync.WaitGroup
	for _, transport := range transports {
		all.Go(func() { checkHeartbeat(t, transport, codes.OK) }) // Each is retried at once, because there is another address.
	}
	all.Wait()
	if connection.sharedIndex != 1 || len(connection.openLinks) != 1 || connection.currentLinks[1].users != size+1 {
		t.Errorf("at address %d with %d links, want the second address and one link", connection.sharedIndex, len(connection.openLinks))
	}
	if n, _ := second.takeStreams(); n != size {
		t.Errorf("%d streams at the second address, want %d", n, size)
	}
}

func TestConnection_LinkIsClosedAfterItsLastUser(t *testing.T) {
	t.Parallel()
	connection, err := NewConnection([]string{"127.0.0.1:1", "localhost:2"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	first, err := connection.acquire(sharedAddress)
	if err != nil {
		t.Fatal(err)
	}

	if !connection.acquireStream(first) {
		t.Error("acquireStream() = false, want true")
	}
	if !connection.replaceLink(first) || connection.replaceLink(first) {
		t.Error("replaceLink() = false, then true, want the opposite")
	}

	second, err := connection.acquire(sharedAddress)
	if err != nil || second == first || second.conn.Target() != "dns:///localhost:2" {
		t.Fatalf("acquire() = %v, %v, want another link", second, err)
	}
	connection.releaseStream(first)
	if !connection.openLinks[first] {
		t.Error("the link is closed during a call")
	}

	connection.release(first)
	if connection.openLinks[first] || !connection.openLinks[second] {
		t.Error("the link is not closed after the last call")
	}
	if err := connection.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}

	connection.release(second)
	if _, err := connection.acquire(sharedAddress); !errors.Is(err, errClosed) {
		t.Errorf("acquire() = %v, want %v", err, errClosed)
	}
	if err := checkHeartbeatErr(t, newTestTransport(t, testConfig(), connection), codes.Unavailable); !errors.Is(err, errClosed) {
		t.Errorf("heartbeat = %v, want %v", err, errClosed)
	}
}

func TestConnection_ClosedDuringACall(t *testing.T) {
	t.Parallel()
	gc := startGlobalController(t, false)
	connection, err := NewConnection([]string{gc.address}, nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := newTestTransport(t, testConfig(), connection)
	thaw := make(chan struct{})
	gc.setResponse(func(receivedCall) error {
		_ = connection.Close()
		<-thaw
		return nil
	})
	checkHeartbeat(t, transport, codes.Unavailable)
	close(thaw)
}

func TestConnection_TLS(t *testing.T) {
	t.Parallel()
	web := httptest.NewUnstartedServer(nil) // Only its certificate is used.
	web.StartTLS()
	t.Cleanup(web.Close)
	gc := &fakeGlobalController{calls: make(chan receivedCall, 10)}
	server := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&web.TLS.Certificates[0])))
	darktowerv1.RegisterGlobalControllerServiceServer(server, gc)
	cfg := testConfig(serve(t, server))
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	cfg.TLS = &tls.Config{RootCAs: roots, ServerName: "example.com", MinVersion: tls.VersionTLS12}
	r := startClient(t, cfg)
	r.waitForEvent(t, EventRegistered)
}

func TestConnection_Addresses(t *testing.T) {
	t.Parallel()
	for _, addresses := range [][]string{nil, {""}, {"gc"}, {"gc:"}, {"gc:1", "http://gc:1"}, {"::1:5"}} {
		if _, err := NewConnection(addresses, nil); err == nil {
			t.Errorf("NewConnection(%q) = nil, want an error", addresses)
		}
	}
	for address, want := range map[string]string{
		"[::1]:5":     "passthrough:///[::1]:5",
		"127.0.0.1:5": "passthrough:///127.0.0.1:5",
		"gc:5":        "dns:///gc:5",
	} {
		if got := dialTarget(address); got != want {
			t.Errorf("dialTarget(%s) = %s, want %s", address, got, want)
		}
	}
}

func TestConnection_StreamLimit(t *testing.T) {
	t.Parallel()
	gc := startGlobalController(t, true)
	connection, err := NewConnection([]string{gc.address}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	late := newTestTransport(t, testConfig(), connection)
	checkHeartbeat(t, late, codes.OK)
	late.closeStream()
	connection.currentLinks[0].streams = maxStreams // As if other clients had them.
	checkHeartbeat(t, late, codes.OK)
	if late.stream != nil {
		t.Error("the client opened one stream too many")
	}

	connection.currentLinks[0].streams--
	checkHeartbeat(t, late, codes.OK)
	if late.stream == nil {
		t.Error("the client opened no stream, want one below the limit")
	}
}
