package daemon

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"

	"google.golang.org/grpc/credentials"
)

// tlsSetup secures the two listeners, or reports TLS clients if they are plaintext.
type tlsSetup struct {
	grpcCredentials credentials.TransportCredentials
	wrapHTTP        func(net.Listener) net.Listener
}

// loadTLS reads the certificate. Without one, both listeners are plaintext.
func loadTLS(cfg Config, events *eventLog) (tlsSetup, error) {
	if cfg.TLSCertFile == "" {
		return tlsSetup{events.newPlainCredentials(), events.newPlainListener}, nil
	}
	certificate, err := loadCertificate(cfg)
	if err != nil {
		return tlsSetup{}, err
	}

	config := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	return tlsSetup{
		grpcCredentials: events.newTLSCredentials(config),
		wrapHTTP:        func(listener net.Listener) net.Listener { return tls.NewListener(listener, config) },
	}, nil
}

func loadCertificate(cfg Config) (tls.Certificate, error) {
	certificate, err := tls.LoadX509KeyPair(cfg.TLSCertFile, cfg.TLSKeyFile)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("read GC_TLS_CERT_FILE and GC_TLS_KEY_FILE: %w", err)
	}
	return certificate, nil
}

// pinCertificate returns a client configuration that accepts this certificate only. The certificate names the host that callers
// use, not the address that the server binds, so its name is not verified.
func pinCertificate(certificate tls.Certificate) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // The check below is stricter.
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 || !bytes.Equal(state.PeerCertificates[0].Raw, certificate.Certificate[0]) {
				return errors.New("the server has another certificate than that of GC_TLS_CERT_FILE: check the file, or restart the server")
			}
			return nil
		},
	}
}

// countingCredentials report the handshakes that fail.
type countingCredentials struct {
	credentials.TransportCredentials
	reportFailure func(address, cause string)
}

// ServerHandshake implements [credentials.TransportCredentials].
func (c countingCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, info, err := c.TransportCredentials.ServerHandshake(conn)
	if err != nil && !errors.Is(err, io.EOF) { // A port check by a load balancer sends nothing.
		c.reportFailure(hostOf(conn.RemoteAddr().String()), err.Error())
	}
	return secured, info, err
}

// Clone implements [credentials.TransportCredentials].
func (c countingCredentials) Clone() credentials.TransportCredentials {
	return countingCredentials{c.TransportCredentials.Clone(), c.reportFailure}
}

// newTLSCredentials returns credentials for gRPC whose failed handshakes are counted.
func (l *eventLog) newTLSCredentials(config *tls.Config) credentials.TransportCredentials {
	return countingCredentials{credentials.NewTLS(config), func(address, cause string) { l.recordHandshakeFailure("grpc", address, cause) }}
}

func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}
