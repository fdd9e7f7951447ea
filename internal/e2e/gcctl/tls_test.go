package gcctl_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"darktower.example/global-controller/internal/daemon"
)

// newCertificate writes a certificate for 127.0.0.1 with a validity, and its key.
func newCertificate(t *testing.T, validity time.Duration) (certFile, keyFile string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "gc"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(validity),
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

	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: der},
		keyFile:  {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

func newTLSEnvironment(t *testing.T) (e *environment, certFile, keyFile string) {
	t.Helper()
	certFile, keyFile = newCertificate(t, 100*24*time.Hour)
	e = newSQLiteEnvironment(t, func(c *daemon.Config) { c.TLSCertFile, c.TLSKeyFile = certFile, keyFile })
	return e, certFile, keyFile
}

// contextFile writes a context file for the environment with values for tls and auth.
func (e *environment) contextFile(tls, auth string) string {
	e.t.Helper()
	return e.secretFile("config.yaml", fmt.Sprintf(`current-context: a
contexts:
  a:
    address: %s
    http_address: %s
    tls: %s
    auth: %s
`, e.server.GRPCAddress(), e.server.HTTPAddress(), tls, auth))
}

func TestTLS_VerifiesGlobalController(t *testing.T) {
	t.Parallel()
	e, certFile, keyFile := newTLSEnvironment(t)
	otherCertFile, _ := newCertificate(t, time.Hour)
	e.env["GCCTL_CA_FILE"] = certFile
	e.gcctl(0, "regions")
	e.checkFinding(e.doctorFindings(0), "TLS", "ok", "is valid until")

	e.env["GCCTL_CA_FILE"] = otherCertFile
	checkContains(t, "another authority", e.gcctl(6, "regions", "--timeout", "1s").err, "certificate")
	findings := e.doctorFindings(1)
	e.checkFinding(findings, "TLS", "FAIL", "cannot be verified", "tls.ca")
	e.checkFinding(findings, "/ready", "FAIL")

	delete(e.env, "GCCTL_CA_FILE")
	e.checkFinding(e.doctorFindings(1), "gRPC health", "FAIL", "--tls")
	config := e.contextFile("{insecure: true}", "{url: '"+e.acHTTP.URL+"', client_id: dev-reader}")
	checkContains(t, "insecure", e.gcctl(0, "regions", "--config", config).err, "warning: the certificate of", "is not verified")
	e.checkFinding(e.doctorFindings(0, "--config", config), "TLS", "warn", "any server can impersonate")

	checkContains(t, "no certificate", e.gcctl(2, "regions", "--ca-file", keyFile).err, "has no certificate in PEM")
}

func TestTLS_VerifiesAuthController(t *testing.T) {
	t.Parallel()
	e, certFile, _ := newTLSEnvironment(t)
	ac := httptest.NewTLSServer(e.ac)
	defer ac.Close()
	caFile := e.secretFile("ac.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ac.Certificate().Raw})))
	delete(e.env, "GCCTL_AC")
	contextFor := func(acCAFile string) string {
		return e.contextFile("{ca: "+certFile+"}", fmt.Sprintf("{url: '%s', client_id: dev-reader, ca: '%s'}", ac.URL, acCAFile))
	}

	valid := contextFor(caFile)
	e.gcctl(0, "regions", "--config", valid)
	e.checkFinding(e.doctorFindings(0, "--config", valid), "auth controller", "ok")
	invalid := contextFor(certFile)
	e.gcctl(6, "regions", "--config", invalid)
	e.checkFinding(e.doctorFindings(1, "--config", invalid), "auth controller", "FAIL", "certificate")
}

// insecureTransport is for requests of the tests themselves, with or without TLS.
func insecureTransport() *http.Transport {
	return &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
}
