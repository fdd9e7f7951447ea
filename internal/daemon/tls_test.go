package daemon

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
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
)

// certificate writes a certificate for 127.0.0.1 and its key, and returns the files and who trusts it.
func certificate(t *testing.T) (certFile, keyFile string, roots *x509.CertPool) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gc"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
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
	certFile, keyFile = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for file, data := range map[string][]byte{certFile: certPEM, keyFile: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(certPEM)
	return certFile, keyFile, roots
}

func TestTLSOnBothListeners(t *testing.T) {
	t.Parallel()
	certFile, keyFile, roots := certificate(t)
	w := newWorld(t, sqliteURL(t), func(c *Config) { c.TLSCertFile, c.TLSKeyFile = certFile, keyFile })
	config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	defer client.CloseIdleConnections()
	w.until("ready over TLS", func() bool {
		response, err := client.Get("https://" + w.address + "/ready")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	conn, err := grpc.NewClient(w.server.GRPCAddress(), grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := healthgrpc.NewHealthClient(conn).Check(t.Context(), &healthgrpc.HealthCheckRequest{}); err != nil {
		t.Errorf("gRPC over TLS = %v", err)
	}
	probe := func(certFile, keyFile string) (int, string) {
		var errs bytes.Buffer
		code := Main(t.Context(), []string{"probe", "--bind-address", w.address, "--gc-tls-cert-file", certFile, "--gc-tls-key-file", keyFile}, &bytes.Buffer{}, &errs)
		return code, errs.String()
	}
	if code, errs := probe(certFile, keyFile); code != 0 {
		t.Errorf("probe = %d %s, want 0", code, errs)
	}
	otherCert, otherKey, _ := certificate(t)
	if code, errs := probe(otherCert, otherKey); code != 1 || !strings.Contains(errs, "another certificate") {
		t.Errorf("probe with another certificate = %d %s, want 1", code, errs)
	}
}
