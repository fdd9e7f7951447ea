package operatorcli

import (
	"cmp"
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

// credentials are a token, or a client that gets tokens from an auth controller.
type credentials struct {
	// origin names the flag, the environment variable or the context that they come from.
	origin string

	token     client.Secret
	tokenFile string

	acURL string
	// acCAFile is a PEM file with the authorities to trust at acURL instead of the system's.
	acCAFile   string
	clientID   string
	secret     client.Secret
	secretFile string
	scope      string
}

// resolveCredentials returns a token if there is one, and otherwise a client of the auth controller.
func (c *cli) resolveCredentials(settings settingLookup, to target, auth authConfig, forChange bool) (credentials, error) {
	clientID := settings.lookup(flagValue{"--client", c.flags.clientID}, "GCCTL_CLIENT", auth.ClientID)
	if to.isDevStack && !clientID.isSet() {
		clientID = setting{devClientID(forChange), "gcctl dev"}
	}

	switch {
	case c.flags.tokenFile != "":
		return credentials{origin: "--token-file", tokenFile: c.flags.tokenFile}, nil
	case c.Env("GCCTL_TOKEN") != "" && clientID.origin != "--client":
		return credentials{origin: "GCCTL_TOKEN", token: client.Secret(c.Env("GCCTL_TOKEN"))}, nil
	case auth.TokenFile != "" && !clientID.isSet():
		return credentials{origin: settings.contextOrigin(), tokenFile: auth.TokenFile}, nil
	case !clientID.isSet():
		return credentials{}, newFailure(ExitNoAccess,
			"no credentials for %s: choose a context with --context, or give --token-file, GCCTL_TOKEN, or --client with --ac", to.address)
	}
	return c.resolveClient(settings, to, auth, clientID)
}

// devClientID returns the client of gcctl dev that has the scope for a command.
func devClientID(forChange bool) string {
	if forChange {
		return "dev-admin"
	}
	return "dev-reader"
}

// resolveClient returns the credentials of a client of the auth controller.
func (c *cli) resolveClient(settings settingLookup, to target, auth authConfig, clientID setting) (credentials, error) {
	acURL := settings.lookup(flagValue{"--ac", c.flags.acURL}, "GCCTL_AC", auth.URL)
	if to.isDevStack && !acURL.isSet() {
		acURL = setting{"http://" + devstack.DefaultACAddress, "gcctl dev"}
	}
	switch {
	case !acURL.isSet():
		return credentials{}, usageError("client %s needs the address of its auth controller: give --ac, GCCTL_AC, or auth.url in the context",
			clean(clientID.value))
	case !isHTTPURL(acURL.value):
		return credentials{}, usageError("the auth controller is %q: allowed is http://… or https://…", clean(acURL.value))
	}

	secret, secretFile := c.resolveSecret(auth, clientID.value, acURL.value)
	if secret == "" && secretFile == "" {
		return credentials{}, newFailure(ExitNoAccess,
			"client %s needs its secret: give --client-secret-file, GCCTL_CLIENT_SECRET, or client_secret_file in the context",
			clean(clientID.value))
	}

	return credentials{
		origin:     clientID.origin,
		acURL:      acURL.value,
		acCAFile:   auth.CA,
		clientID:   clientID.value,
		secret:     secret,
		secretFile: secretFile,
		scope:      cmp.Or(c.flags.scope, auth.Scope),
	}, nil
}

// resolveSecret returns the secret of a client, or the file that has it. Both are empty if there is none. The secret of the context
// is for the client of the context only.
func (c *cli) resolveSecret(auth authConfig, clientID, acURL string) (secret client.Secret, file string) {
	switch {
	case c.flags.clientSecretFile != "":
		return "", c.flags.clientSecretFile
	case c.Env("GCCTL_CLIENT_SECRET") != "":
		return client.Secret(c.Env("GCCTL_CLIENT_SECRET")), ""
	case auth.ClientSecretFile != "" && auth.ClientID == clientID:
		return "", auth.ClientSecretFile
	}
	return devSecret(clientID, acURL), ""
}

// devSecret returns the published secret of a client of gcctl dev, for an auth controller of this machine. It is empty for others.
func devSecret(clientID, acURL string) client.Secret {
	u, err := url.Parse(acURL)
	if err != nil || !isLoopback(u.Host) {
		return ""
	}

	known := devauth.Clients()
	index := slices.IndexFunc(known, func(c devauth.Client) bool { return c.ID == clientID })
	if index < 0 {
		return ""
	}
	return client.Secret(known[index].Secret)
}

// describe returns the kind and the origin of the credentials, without any secret.
func (from credentials) describe() string {
	switch {
	case from.tokenFile != "":
		return "in the file " + from.tokenFile + ", set by " + from.origin
	case from.token != "":
		return "set by " + from.origin
	}

	text := "for client " + from.clientID + " from " + from.acURL
	if from.secretFile != "" {
		text += ", with the secret in " + from.secretFile
	}
	return text + ", set by " + from.origin
}

// httpClient returns a client for the auth controller, or nil if the default one will do.
func (from credentials) httpClient(timeout time.Duration) (*http.Client, error) {
	if from.acCAFile == "" {
		return nil, nil //nolint:nilnil // The token source takes nil for the default client.
	}

	config, err := (&tlsOptions{CA: from.acCAFile}).config()
	if err != nil {
		return nil, err
	}
	return newHTTPClient(config, timeout), nil
}

// readSecret reads a file that contains a secret and nothing else.
func readSecret(path string) (client.Secret, error) {
	text, err := os.ReadFile(expandHome(path))
	if err != nil {
		return "", newFailure(ExitNoAccess, "read a secret: %v", err)
	}

	secret := strings.TrimSpace(string(text))
	if secret == "" {
		return "", newFailure(ExitNoAccess, "read a secret: %s is empty; write the secret, and nothing else, into it", path)
	}
	return client.Secret(secret), nil
}

// isReadableByOthers reports whether other users can read a file.
func isReadableByOthers(path string) bool {
	info, err := os.Stat(expandHome(path))
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0
}

// expandHome replaces a leading "~/". The shell does so for arguments, but not for the content of the context file.
func expandHome(path string) string {
	if rest, isInHome := strings.CutPrefix(path, "~/"); isInHome {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	return path
}
