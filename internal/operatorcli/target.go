package operatorcli

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"darktower.example/global-controller/internal/devstack"
	"darktower.example/global-controller/pkg/client"
	"darktower.example/global-controller/pkg/devauth"
)

// target is the Global Controller that a command speaks to, put together from flags, environment and context file.
type target struct {
	// context is its name; empty: none was chosen.
	context     string
	address     string
	httpAddress string // empty: not known
	tls         *tlsChoice
	tokens      credentials
	// dev tells that nothing was said, or a loopback address only: the stack of gcctl dev.
	dev bool
}

// credentials say how to get a token.
type credentials struct {
	// from tells where they were found, for people.
	from      string
	token     client.Secret
	tokenFile string
	url       string
	id        string
	secret    client.Secret
	// secretFile is where the secret lies, if it does.
	secretFile string
	scope      string
	ca         string
}

// client is what the auth controller is spoken to with; nil: the usual one.
func (c credentials) client(timeout time.Duration) (*http.Client, error) {
	if c.ca == "" {
		return nil, nil //nolint:nilnil // That is how the token source has it.
	}
	config, err := (&tlsChoice{CA: c.ca}).config()
	if err != nil {
		return nil, err
	}
	return &http.Client{Timeout: timeout, Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, DisableKeepAlives: true}}, nil
}

// resolve puts the target together. change tells whether the command changes something, which the reader of gcctl dev
// may not do.
func (t *tool) resolve(change bool) (target, error) {
	file, err := t.readContexts()
	if err != nil {
		return target{}, err
	}
	var there place
	name := first(t.flags.context, t.Env("GCCTL_CONTEXT"), file.Current)
	if name != "" {
		found, err := file.named(name)
		if err != nil {
			return target{}, err
		}
		there = *found
	}
	to := target{
		context: name, address: first(t.flags.address, t.Env("GCCTL_ADDRESS"), there.Address),
		httpAddress: first(t.flags.httpAddress, t.Env("GCCTL_HTTP_ADDRESS"), there.HTTPAddress), tls: t.tlsOf(there),
	}
	if name == "" && (to.address == "" || isLoopback(to.address)) {
		to.dev = true
		if to.address == "" || to.address == devstack.DefaultGRPCAddress {
			to.httpAddress = first(to.httpAddress, devstack.DefaultHTTPAddress)
		}
		to.address = first(to.address, devstack.DefaultGRPCAddress)
	}
	if err := checkAddress(to.address); err != nil {
		return to, wrongUse("%v", err)
	}
	to.tokens, err = t.credentials(to, there.Auth, change)
	return to, err
}

func (t *tool) tlsOf(there place) *tlsChoice {
	choice := there.TLS
	ca := first(t.flags.ca, t.Env("GCCTL_CA_FILE"))
	if !t.flags.tls && ca == "" {
		return choice
	}
	given := tlsChoice{}
	if choice != nil {
		given = *choice
	}
	given.CA = first(ca, given.CA)
	return &given
}

// credentials finds them: a flag comes before the environment, the environment before the context.
func (t *tool) credentials(to target, a auth, change bool) (credentials, error) {
	url := first(t.flags.ac, t.Env("GCCTL_AC"), a.URL)
	if to.dev {
		url = first(url, "http://"+devstack.DefaultACAddress)
	}
	id := first(t.flags.client, t.Env("GCCTL_CLIENT"))
	switch {
	case t.flags.tokenFile != "":
		return credentials{from: "--token-file", tokenFile: t.flags.tokenFile}, nil
	case t.flags.client == "" && t.Env("GCCTL_TOKEN") != "":
		return credentials{from: "GCCTL_TOKEN", token: client.Secret(t.Env("GCCTL_TOKEN"))}, nil
	case id == "" && a.TokenFile != "":
		return credentials{from: "the context " + to.context, tokenFile: a.TokenFile}, nil
	}
	from := "the flags or the environment"
	if id == "" {
		from, id = "the context "+to.context, a.ClientID
	}
	if id == "" && to.dev {
		from, id = "gcctl dev", "dev-reader"
		if change {
			id = "dev-admin"
		}
	}
	if id == "" {
		return credentials{}, failed(ExitNoAccess, "there is nothing to get a token with for %s: name a context with --context, or give --token-file, GCCTL_TOKEN, or --client with --ac", to.address)
	}
	if url == "" {
		return credentials{}, wrongUse("the client %s needs the address of its auth controller: --ac, GCCTL_AC or auth.url in the context", clean(id))
	}
	if !isHTTP(url) {
		return credentials{}, wrongUse("the auth controller is %q: allowed is http://… or https://…", clean(url))
	}
	c := credentials{from: from, url: url, id: id, ca: a.CA, scope: first(t.flags.scope, a.Scope), secret: client.Secret(t.Env("GCCTL_CLIENT_SECRET"))}
	switch {
	case t.flags.secretFile != "":
		c.secretFile, c.secret = t.flags.secretFile, ""
	case c.secret != "":
	case id == a.ClientID && a.ClientSecretFile != "":
		c.secretFile = a.ClientSecretFile
	default:
		c.secret = devSecret(id, url)
	}
	if c.secret == "" && c.secretFile == "" {
		return c, failed(ExitNoAccess, "the client %s needs its secret: --client-secret-file, GCCTL_CLIENT_SECRET, or client_secret_file in the context", clean(id))
	}
	return c, nil
}

// devSecret is what everybody knows: of the clients of gcctl dev, at an auth controller of this machine.
func devSecret(id, ac string) client.Secret {
	u, err := url.Parse(ac)
	if err != nil || !isLoopback(u.Host) {
		return ""
	}
	known := slices.IndexFunc(devauth.Clients(), func(c devauth.Client) bool { return c.ID == id })
	if known < 0 {
		return ""
	}
	return client.Secret(devauth.Clients()[known].Secret)
}

// readSecret reads a file that holds nothing but a secret.
func readSecret(path string) (client.Secret, error) {
	text, err := os.ReadFile(expand(path))
	if err != nil {
		return "", failed(ExitNoAccess, "read the file of a secret: %v", err)
	}
	secret := strings.TrimSpace(string(text))
	if secret == "" {
		return "", failed(ExitNoAccess, "%s is empty: it should hold a secret and nothing else", path)
	}
	return client.Secret(secret), nil
}

// openToOthers tells whether others may read a file of this user's.
func openToOthers(path string) bool {
	info, err := os.Stat(expand(path))
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0
}

// expand reads "~/": the shell does not do it within a file.
func expand(path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	return path
}

// config is nil for plaintext.
func (c *tlsChoice) config() (*tls.Config, error) {
	if c == nil {
		return nil, nil //nolint:nilnil // That is how plaintext is said.
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName, InsecureSkipVerify: c.Insecure} //nolint:gosec // Who asks for it is warned.
	if c.CA == "" {
		return config, nil
	}
	text, err := os.ReadFile(expand(c.CA))
	if err != nil {
		return nil, wrongUse("read the authorities to trust: %v", err)
	}
	if config.RootCAs = x509.NewCertPool(); !config.RootCAs.AppendCertsFromPEM(text) {
		return nil, wrongUse("%s holds no certificate in PEM", c.CA)
	}
	return config, nil
}

func checkAddress(address string) error {
	if address == "" {
		return errors.New("there is no address: give --address HOST:PORT")
	}
	if _, port, err := net.SplitHostPort(address); err != nil || port == "" || strings.Contains(address, "/") {
		return fmt.Errorf("the address %q is not HOST:PORT", clean(address))
	}
	return nil
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func isHTTP(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}
