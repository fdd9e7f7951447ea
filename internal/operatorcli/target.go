package operatorcli

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"darktower.example/global-controller/internal/devstack"
)

// target is the Global Controller that a command connects to.
type target struct {
	// context is the name of the chosen context; empty if there is none.
	context string
	address string
	// httpAddress is empty if it is not known.
	httpAddress string
	// tls is nil for plaintext.
	tls         *tlsOptions
	credentials credentials
	// isDevStack is set without a context, if the address is a loopback address or not set: this is the stack of gcctl dev.
	isDevStack bool
}

// setting is a configured value and its origin: a flag, an environment variable or a context. Both are empty if it is not set.
type setting struct {
	value  string
	origin string
}

func (s setting) isSet() bool { return s.value != "" }

// settingLookup finds settings in the flags, the environment and one context.
type settingLookup struct {
	env         func(name string) string
	contextName string
}

// flagValue is a flag with its value, which is empty if the flag is not given.
type flagValue struct {
	name  string
	value string
}

// lookup returns a setting: the flag takes precedence over the environment variable, and the variable over the context.
func (l settingLookup) lookup(flag flagValue, variable, contextValue string) setting {
	if flag.value != "" {
		return setting{flag.value, flag.name}
	}
	if value := l.env(variable); value != "" {
		return setting{value, variable}
	}
	if contextValue != "" {
		return setting{contextValue, l.contextOrigin()}
	}
	return setting{}
}

func (l settingLookup) contextOrigin() string { return "the context " + l.contextName }

// resolveTarget returns the target that flags, environment and context file describe. Commands set forChange if they change
// something, because gcctl dev has separate clients for reading and for changes.
func (c *cli) resolveTarget(forChange bool) (target, error) {
	name, context, err := c.chooseContext()
	if err != nil {
		return target{}, err
	}

	settings := settingLookup{c.Env, name}
	to := target{
		context:     name,
		address:     settings.lookup(flagValue{"--address", c.flags.address}, "GCCTL_ADDRESS", context.Address).value,
		httpAddress: settings.lookup(flagValue{"--http-address", c.flags.httpAddress}, "GCCTL_HTTP_ADDRESS", context.HTTPAddress).value,
		tls:         c.resolveTLS(settings, context.TLS),
	}
	if name == "" && (to.address == "" || isLoopback(to.address)) {
		to.useDevStack()
	}

	if err := checkAddress(to.address); err != nil {
		return to, usageError("%v", err)
	}
	to.credentials, err = c.resolveCredentials(settings, to, context.Auth, forChange)
	return to, err
}

// chooseContext returns the context that is named by the flag, the environment or the file. Without one both results are empty.
func (c *cli) chooseContext() (name string, chosen contextConfig, err error) {
	file, err := c.readContextFile()
	if err != nil {
		return "", contextConfig{}, err
	}

	name = cmp.Or(c.flags.context, c.Env("GCCTL_CONTEXT"), file.Current)
	if name == "" {
		return "", contextConfig{}, nil
	}
	found, err := file.find(name)
	if err != nil {
		return "", contextConfig{}, err
	}
	return name, *found, nil
}

// useDevStack fills in the addresses of gcctl dev. Its HTTP address is known only if its gRPC address is the default one.
func (to *target) useDevStack() {
	to.isDevStack = true
	to.address = cmp.Or(to.address, devstack.DefaultGRPCAddress)
	if to.address == devstack.DefaultGRPCAddress {
		to.httpAddress = cmp.Or(to.httpAddress, devstack.DefaultHTTPAddress)
	}
}

// resolveTLS returns the TLS options of the context, changed by --tls and --ca-file.
func (c *cli) resolveTLS(settings settingLookup, inContext *tlsOptions) *tlsOptions {
	caFile := settings.lookup(flagValue{"--ca-file", c.flags.caFile}, "GCCTL_CA_FILE", "")
	if !c.flags.tls && !caFile.isSet() {
		return inContext
	}

	options := tlsOptions{}
	if inContext != nil {
		options = *inContext
	}
	options.CA = cmp.Or(caFile.value, options.CA)
	return &options
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

// isHTTPURL reports whether a text is the URL of an HTTP server.
func isHTTPURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}
