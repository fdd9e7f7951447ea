package operatorcli

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"time"
)

// tlsOptions are the part of a context about TLS; nil means plaintext.
type tlsOptions struct {
	// CA is a PEM file with the authorities to trust instead of the system's.
	CA string `yaml:"ca,omitempty"`
	// ServerName is the expected name in the certificate, if it differs from the address.
	ServerName string `yaml:"server_name,omitempty"`
	// Insecure accepts any certificate.
	Insecure bool `yaml:"insecure,omitempty"`
}

// config returns the configuration of a TLS client, or nil for plaintext.
func (o *tlsOptions) config() (*tls.Config, error) {
	if o == nil {
		return nil, nil //nolint:nilnil // nil means plaintext.
	}

	config := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         o.ServerName,
		InsecureSkipVerify: o.Insecure, //nolint:gosec // Each command warns about it.
	}
	if o.CA == "" {
		return config, nil
	}

	text, err := os.ReadFile(expandHome(o.CA))
	if err != nil {
		return nil, usageError("read the authorities to trust: %v", err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(text) {
		return nil, usageError("read the authorities to trust: %s has no certificate in PEM", o.CA)
	}
	return config, nil
}

func (o *tlsOptions) describe() string {
	switch {
	case o == nil:
		return "no: plaintext"
	case o.Insecure:
		return "yes, but the certificate is NOT verified"
	}
	return "yes, trusting " + cmp.Or(o.CA, "the authorities of this system")
}

// newHTTPClient returns an HTTP client that keeps no connection open. If config is nil, it uses the system's authorities.
func newHTTPClient(config *tls.Config, timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			Proxy:             http.ProxyFromEnvironment,
			TLSClientConfig:   config,
			DisableKeepAlives: true,
		},
	}
}
