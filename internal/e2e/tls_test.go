package e2e

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"

	"darktower.example/global-controller/internal/daemon"
	pb "darktower.example/global-controller/proto/darktower/v1"
)

// newCertificate writes a certificate for 127.0.0.1 and its key, and returns the files and a pool that trusts it.
func newCertificate(t *testing.T) (certFile, keyFile string, roots *x509.CertPool) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "gc"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}

	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	certFile, keyFile = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for file, data := range map[string][]byte{certFile: certPEM, keyFile: keyPEM} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(certPEM)
	return certFile, keyFile, roots
}

func TestTLS_BothListeners(t *testing.T) {
	t.Parallel()
	certFile, keyFile, roots := newCertificate(t)
	env := newEnvironment(t, sqliteURL(t), func(c *daemon.Config) { c.TLSCertFile, c.TLSKeyFile = certFile, keyFile })
	config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	defer client.CloseIdleConnections()

	env.waitFor("ready over TLS", func() bool {
		response, err := client.Get("https://" + env.httpAddress + "/ready")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	})

	conn, err := grpc.NewClient(env.server.GRPCAddress(), grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()

	if _, err := healthgrpc.NewHealthClient(conn).Check(t.Context(), &healthgrpc.HealthCheckRequest{}); err != nil {
		t.Errorf("gRPC over TLS = %v", err)
	}
	probe := func(certFile, keyFile string) (int, string) {
		var errs bytes.Buffer
		args := []string{"probe", "--bind-address", env.httpAddress, "--gc-tls-cert-file", certFile, "--gc-tls-key-file", keyFile}
		code := daemon.Main(t.Context(), args, &bytes.Buffer{}, &errs)
		return code, errs.String()
	}

	if code, errs := probe(certFile, keyFile); code != 0 {
		t.Errorf("probe = %d %s, want 0", code, errs)
	}
	otherCert, otherKey, _ := newCertificate(t)
	if code, errs := probe(otherCert, otherKey); code != 1 || !strings.Contains(errs, "another certificate") {
		t.Errorf("probe with another certificate = %d %s, want 1", code, errs)
	}
}

func TestTLSHandshakes_FailuresAreCounted(t *testing.T) {
	t.Parallel()
	certFile, keyFile, _ := newCertificate(t)
	env := newEnvironment(t, sqliteURL(t), func(c *daemon.Config) {
		c.LogLevel, c.TLSCertFile, c.TLSKeyFile = "info", certFile, keyFile
	})

	// One client trusts no certificate, one speaks no TLS.
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()

	for range 20 {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+env.httpAddress+"/health", nil)
		if err != nil {
			t.Fatal(err)
		}
		if response, err := client.Do(request); err == nil {
			_ = response.Body.Close()
			t.Fatal("the handshake of a client that trusts no certificate succeeds")
		}
	}

	for _, transport := range []credentials.TransportCredentials{
		insecure.NewCredentials(), credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12}),
	} {
		conn, err := grpc.NewClient(env.server.GRPCAddress(), grpc.WithTransportCredentials(transport))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = pb.NewGlobalControllerServiceClient(conn).RegisterMC(t.Context(), &pb.RegisterMCRequest{})
		_ = conn.Close()
	}

	env.waitFor("a line for each protocol", func() bool {
		log := env.log.String()
		return strings.Count(log, `msg="TLS handshake failed" transport=http`) == 1 &&
			strings.Count(log, `msg="TLS handshake failed" transport=grpc`) == 1
	})
	if strings.Contains(env.log.String(), "http: TLS handshake error") {
		t.Errorf("net/http logged a failed handshake as well:\n%s", env.log)
	}
}

func TestTLSHandshakes_OnPortsWithoutTLSAreCounted(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, sqliteURL(t), func(c *daemon.Config) { c.LogLevel = "info" }).waitReady()
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}

	for transport, address := range map[string]string{"grpc": env.server.GRPCAddress(), "http": env.server.HTTPAddress()} {
		dialer := tls.Dialer{Config: config}
		if conn, err := dialer.DialContext(t.Context(), "tcp", address); err == nil {
			_ = conn.Close()
			t.Fatal("a TLS handshake with a plaintext port succeeds")
		}

		env.waitFor("the handshake is counted", func() bool {
			n, _ := env.readMetric(`gc_tls_handshake_failures_total{transport="` + transport + `"}`)
			return n == 1
		})
		want := `msg="TLS handshake failed" transport=` + transport + ` peer=127.0.0.1 err="the caller speaks TLS, and this port does not"`
		if !strings.Contains(env.log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, env.log)
		}
	}
}
