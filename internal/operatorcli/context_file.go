package operatorcli

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// contextFile has the contexts, each of which describes how to connect to a Global Controller.
type contextFile struct {
	Current  string                    `yaml:"current-context,omitempty"`
	Contexts map[string]*contextConfig `yaml:"contexts,omitempty"`
}

// contextConfig is one context: how to connect to a Global Controller, and with which credentials.
type contextConfig struct {
	Address     string      `yaml:"address"`
	HTTPAddress string      `yaml:"http_address,omitempty"`
	TLS         *tlsOptions `yaml:"tls,omitempty"`
	Auth        authConfig  `yaml:"auth,omitempty"`
}

// authConfig is the source of tokens: a file with a token, or a client of an auth controller.
type authConfig struct {
	URL string `yaml:"url,omitempty"`
	// CA is a PEM file with the authorities to trust at URL instead of the system's.
	CA               string `yaml:"ca,omitempty"`
	ClientID         string `yaml:"client_id,omitempty"`
	ClientSecretFile string `yaml:"client_secret_file,omitempty"`
	Scope            string `yaml:"scope,omitempty"`
	TokenFile        string `yaml:"token_file,omitempty"`
}

// find returns the context with a name.
func (f contextFile) find(name string) (*contextConfig, error) {
	if found := f.Contexts[name]; found != nil {
		return found, nil
	}
	return nil, usageError("there is no context %s; list the contexts with gcctl context ls", clean(name))
}

// givenContextPath returns the path of the context file if the flag or the environment names one.
func (c *cli) givenContextPath() string { return cmp.Or(c.flags.config, c.Env("GCCTL_CONFIG")) }

// contextPath returns the path of the context file.
func (c *cli) contextPath() (string, error) {
	if path := c.givenContextPath(); path != "" {
		return path, nil
	}
	if base := c.Env("XDG_CONFIG_HOME"); base != "" {
		return filepath.Join(base, "gcctl", "config.yaml"), nil
	}
	if home := c.Env("HOME"); home != "" {
		return filepath.Join(home, ".config", "gcctl", "config.yaml"), nil
	}
	return "", usageError("neither HOME nor XDG_CONFIG_HOME is set: name the context file with --config")
}

// readContextFile reads the context file. A missing file is empty, unless the flag or the environment names it.
func (c *cli) readContextFile() (contextFile, error) {
	var file contextFile
	path, err := c.contextPath()
	if err != nil {
		if cmp.Or(c.flags.context, c.Env("GCCTL_CONTEXT")) == "" {
			return file, nil // No context is requested, so the file is not needed.
		}
		return file, err
	}

	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist) && c.givenContextPath() == "":
		return file, nil
	case errors.Is(err, os.ErrNotExist):
		return file, usageError("there is no context file %s; create it with gcctl context set", path)
	case err != nil:
		return file, usageError("read the context file: %v", err)
	}

	if file, err = parseContextFile(text); err != nil {
		return file, usageError("read the context file %s: %v", path, err)
	}
	return file, nil
}

func parseContextFile(text []byte) (contextFile, error) {
	var file contextFile
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); errors.Is(err, io.EOF) {
		return file, nil
	} else if err != nil {
		return file, errors.New(describeYAMLError(err))
	}
	if err := checkEmptyTLS(text); err != nil {
		return file, err
	}

	for _, name := range slices.Sorted(maps.Keys(file.Contexts)) {
		context := file.Contexts[name]
		if context == nil || context.Address == "" {
			return file, fmt.Errorf("context %s has no address", clean(name))
		}
		if err := context.check(); err != nil {
			return file, fmt.Errorf("context %s: %w", clean(name), err)
		}
	}

	if file.Current != "" && file.Contexts[file.Current] == nil {
		return file, fmt.Errorf("current-context is %s, but there is no such context", clean(file.Current))
	}
	return file, nil
}

// The errors of the YAML library name Go types, and quote values, which may be misplaced secrets.
var (
	unknownFieldError = regexp.MustCompile(`field (\S+) not found in type \S+`)
	wrongTypeError    = regexp.MustCompile("(?s)cannot unmarshal !!\\w+( `[^`]*`)? into \\S+")
)

// describeYAMLError returns the text of a YAML error without types and values.
func describeYAMLError(err error) string {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	text = strings.ReplaceAll(strings.TrimPrefix(text, "unmarshal errors:\n  "), "\n  ", "; ")
	text = unknownFieldError.ReplaceAllString(text, "unknown field $1")
	return clean(wrongTypeError.ReplaceAllString(text, "a value of the wrong type"))
}

// checkEmptyTLS returns an error for "tls:" without a value. It suggests TLS, but would be read as plaintext.
func checkEmptyTLS(text []byte) error {
	var raw struct {
		Contexts map[string]map[string]yaml.Node `yaml:"contexts"`
	}
	if err := yaml.Unmarshal(text, &raw); err != nil {
		return err
	}

	for _, fields := range raw.Contexts {
		if node, ok := fields["tls"]; ok && node.Tag == "!!null" {
			return fmt.Errorf("line %d: tls is empty; write tls: {} to trust the authorities of this system", node.Line)
		}
	}
	return nil
}

func (context *contextConfig) check() error {
	if err := checkAddress(context.Address); err != nil {
		return err
	}

	auth := context.Auth
	switch {
	case auth.TokenFile != "" && (auth.ClientID != "" || auth.URL != ""):
		return errors.New("auth has either token_file, or url, client_id and client_secret_file")
	case auth.ClientID != "" && auth.URL == "":
		return errors.New("auth needs the url of the auth controller beside client_id")
	case auth.URL != "" && !isHTTPURL(auth.URL):
		return fmt.Errorf("auth.url is %q: allowed is http://… or https://…", auth.URL)
	}
	return nil
}

// write replaces the context file atomically. Only its owner can read it, because it names the files of secrets.
func (f contextFile) write(path string) error {
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(f); err != nil {
		return fmt.Errorf("write the context file: %w", err)
	}

	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write the context file: %w", err)
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".config-*")
	if err != nil {
		return fmt.Errorf("write the context file: %w", err)
	}

	_, err = temporary.Write(b.Bytes())
	if err = errors.Join(err, temporary.Close()); err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		_ = os.Remove(temporary.Name())
		return fmt.Errorf("write the context file: %w", err)
	}
	return nil
}

func fileExists(path string) bool {
	_, err := os.Stat(filepath.Clean(path))
	return err == nil
}
