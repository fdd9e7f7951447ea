package operatorcli

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"

	"darktower.example/global-controller/internal/fleetsim"
	"darktower.example/global-controller/pkg/devauth"
)

// setExisting sets the running Global Controller that --address names, with its credentials.
func (o *simulateOptions) setExisting() error {
	if o.address == "" {
		return nil
	}

	e := &fleetsim.Existing{Address: o.address, AuthControllerURL: o.acURL}
	var err error
	if e.TLS, err = o.tlsConfig(); err != nil {
		return err
	}
	o.Existing = e

	if o.acURL != "" {
		if e.ControllerClient, err = oauthClient(o.mcClient, "GCCTL_MC_SECRET"); err != nil {
			return err
		}
		e.ReaderClient, err = oauthClient(o.readerClient, "GCCTL_READER_SECRET")
		return err
	}
	if e.ControllerToken, err = readToken("--mc-token-file", o.mcTokenFile, "GCCTL_MC_TOKEN"); err != nil {
		return err
	}
	e.ReadToken, err = readToken("--reader-token-file", o.readerTokenFile, "GCCTL_READER_TOKEN")
	return err
}

// tlsConfig returns nil for plaintext.
func (o *simulateOptions) tlsConfig() (*tls.Config, error) {
	if !o.tls && o.caFile == "" {
		return nil, nil //nolint:nilnil // nil means plaintext.
	}

	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.caFile == "" {
		return config, nil
	}
	text, err := os.ReadFile(o.caFile)
	if err != nil {
		return nil, fmt.Errorf("read --ca-file: %w", err)
	}

	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("read --ca-file: %s has no certificate", o.caFile)
	}
	return config, nil
}

// oauthClient returns a client with its secret from the environment, because other users of the machine can read flags. The
// secrets of gcctl dev are built in.
func oauthClient(id, variable string) (devauth.Client, error) {
	if secret := os.Getenv(variable); secret != "" {
		return devauth.Client{ID: id, Secret: devauth.Secret(secret)}, nil
	}
	for _, client := range devauth.Clients() {
		if client.ID == id {
			return client, nil
		}
	}
	return devauth.Client{}, usageError("set %s to the secret of client %s", variable, id)
}

// readToken returns the token of a file, or of an environment variable if the flag is not given.
func readToken(flag, file, variable string) (devauth.Secret, error) {
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("read %s: %w", flag, err)
		}
		return devauth.Secret(strings.TrimSpace(string(text))), nil
	}
	if token := os.Getenv(variable); token != "" {
		return devauth.Secret(token), nil
	}
	return "", usageError("--address needs tokens: give --ac, %s or %s", flag, variable)
}
