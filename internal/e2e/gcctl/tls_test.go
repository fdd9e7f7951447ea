package gcctl_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"darktower.example/global-controller/internal/daemon"
)

// certificate writes a certificate for 127.0.0.1 that is valid for so long, and its key.
func certificate(t *testing.T, valid time.Duration) (certFile, keyFile string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gc"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(valid),
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
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

func TestTLSIsSpokenAndVerified(t *testing.T) {
	t.Parallel()
	certFile, keyFile := certificate(t, 100*24*time.Hour)
	other, _ := certificate(t, time.Hour)
	w := sqliteWorld(t, func(c *daemon.Config) { c.TLSCertFile, c.TLSKeyFile = certFile, keyFile })
	w.env["GCCTL_CA_FILE"] = certFile
	w.want(0, "regions")
	w.finds(w.results(0), "TLS", "ok", "is valid until")
	w.env["GCCTL_CA_FILE"] = other
	contains(t, "another authority", w.want(6, "regions", "--timeout", "1s").err, "certificate")
	r := w.results(1)
	w.finds(r, "TLS", "FAIL", "does not verify", "tls.ca")
	w.finds(r, "/ready", "FAIL")
	delete(w.env, "GCCTL_CA_FILE")
	w.finds(w.results(1), "gRPC health", "FAIL", "--tls")
	config := w.file("config.yaml", "current-context: a\ncontexts:\n  a:\n    address: "+w.server.GRPCAddress()+"\n    http_address: "+w.server.HTTPAddress()+
		"\n    tls: {insecure: true}\n    auth: {url: '"+w.acHTTP.URL+"', client_id: dev-reader}\n")
	contains(t, "insecure", w.want(0, "regions", "--config", config).err, "warning: the certificate of", "is not verified")
	w.finds(w.results(0, "--config", config), "TLS", "warn", "anybody can pose")
	// The auth controller over TLS, with an authority of its own.
	ac := httptest.NewTLSServer(w.ac)
	defer ac.Close()
	ca := w.file("ac.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ac.Certificate().Raw})))
	delete(w.env, "GCCTL_AC")
	context := "current-context: a\ncontexts:\n  a:\n    address: " + w.server.GRPCAddress() + "\n    tls: {ca: " + certFile + "}\n    auth: {url: '" + ac.URL + "', client_id: dev-reader, ca: '" + ca + "'}\n"
	config = w.file("config.yaml", context)
	w.want(0, "regions", "--config", config)
	w.finds(w.results(0, "--config", config), "auth controller", "ok")
	config = w.file("config.yaml", strings.Replace(context, ca, certFile, 1))
	w.want(6, "regions", "--config", config)
	w.finds(w.results(1, "--config", config), "auth controller", "FAIL", "certificate")
	contains(t, "no certificate", w.want(2, "regions", "--ca-file", keyFile).err, "no certificate in PEM")
}

// insecureTransport is for the world's own questions, whatever the scheme.
func insecureTransport() *http.Transport {
	return &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
}
