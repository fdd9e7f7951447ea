package operatorcli

import (
	"bytes"
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

// contextFile names the Global Controllers that somebody works with.
type contextFile struct {
	Current  string            `yaml:"current-context,omitempty"`
	Contexts map[string]*place `yaml:"contexts,omitempty"`
}

// named is the context of a name.
func (f contextFile) named(name string) (*place, error) {
	if found := f.Contexts[name]; found != nil {
		return found, nil
	}
	return nil, wrongUse("there is no context %s; gcctl context ls shows those that there are", clean(name))
}

// place says how to reach one Global Controller, and as whom.
type place struct {
	Address     string     `yaml:"address"`
	HTTPAddress string     `yaml:"http_address,omitempty"`
	TLS         *tlsChoice `yaml:"tls,omitempty"`
	Auth        auth       `yaml:"auth,omitempty"`
}

// tlsChoice is there when TLS is spoken.
type tlsChoice struct {
	// CA is a PEM file with the authorities to trust instead of the system's.
	CA         string `yaml:"ca,omitempty"`
	ServerName string `yaml:"server_name,omitempty"`
	// Insecure trusts any certificate.
	Insecure bool `yaml:"insecure,omitempty"`
}

// auth says where tokens come from: a file with one, or a client of an auth controller.
type auth struct {
	URL string `yaml:"url,omitempty"`
	// CA is a PEM file with the authorities to trust at URL instead of the system's.
	CA               string `yaml:"ca,omitempty"`
	ClientID         string `yaml:"client_id,omitempty"`
	ClientSecretFile string `yaml:"client_secret_file,omitempty"`
	Scope            string `yaml:"scope,omitempty"`
	TokenFile        string `yaml:"token_file,omitempty"`
}

// contextPath is where the context file is looked for.
func (t *tool) contextPath() (string, error) {
	if path := first(t.flags.config, t.Env("GCCTL_CONFIG")); path != "" {
		return path, nil
	}
	if base := t.Env("XDG_CONFIG_HOME"); base != "" {
		return filepath.Join(base, "gcctl", "config.yaml"), nil
	}
	if home := t.Env("HOME"); home != "" {
		return filepath.Join(home, ".config", "gcctl", "config.yaml"), nil
	}
	return "", wrongUse("neither HOME nor XDG_CONFIG_HOME is set: --config names the context file")
}

// readContexts reads the context file. One that is not there holds nothing, unless it was named.
func (t *tool) readContexts() (contextFile, error) {
	var file contextFile
	path, err := t.contextPath()
	if err != nil {
		if first(t.flags.context, t.Env("GCCTL_CONTEXT")) == "" {
			return file, nil // Nobody asks for a file.
		}
		return file, err
	}
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist) && first(t.flags.config, t.Env("GCCTL_CONFIG")) == "":
		return file, nil
	case errors.Is(err, os.ErrNotExist):
		return file, wrongUse("there is no context file %s; gcctl context set makes one", path)
	case err != nil:
		return file, wrongUse("read the context file: %v", err)
	}
	if file, err = parseContexts(text); err != nil {
		return file, wrongUse("the context file %s: %v", path, err)
	}
	return file, nil
}

// How the YAML library says it: with the name of a type that nobody knows, and with the value, which may be a secret
// that somebody put there by mistake.
var (
	unknownField = regexp.MustCompile(`field (\S+) not found in type \S+`)
	wrongKind    = regexp.MustCompile("(?s)cannot unmarshal !!\\w+( `[^`]*`)? into \\S+")
)

func parseContexts(text []byte) (contextFile, error) {
	var file contextFile
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); errors.Is(err, io.EOF) {
		return file, nil
	} else if err != nil {
		said := strings.TrimPrefix(err.Error(), "yaml: ")
		said = strings.ReplaceAll(strings.TrimPrefix(said, "unmarshal errors:\n  "), "\n  ", "; ")
		return file, errors.New(clean(wrongKind.ReplaceAllString(unknownField.ReplaceAllString(said, "unknown field $1"), "a value of the wrong kind")))
	}
	if err := refuseEmptyTLS(text); err != nil {
		return file, err
	}
	for _, name := range slices.Sorted(maps.Keys(file.Contexts)) {
		if file.Contexts[name] == nil || file.Contexts[name].Address == "" {
			return file, fmt.Errorf("the context %s has no address", clean(name))
		}
		if err := file.Contexts[name].check(); err != nil {
			return file, fmt.Errorf("the context %s: %w", clean(name), err)
		}
	}
	if file.Current != "" && file.Contexts[file.Current] == nil {
		return file, fmt.Errorf("current-context is %s, and there is no such context", clean(file.Current))
	}
	return file, nil
}

// refuseEmptyTLS refuses "tls:" with nothing behind it: who writes it wishes for TLS, and would get none.
func refuseEmptyTLS(text []byte) error {
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

func (p *place) check() error {
	a := p.Auth
	if err := checkAddress(p.Address); err != nil {
		return err
	}
	switch {
	case a.TokenFile != "" && (a.ClientID != "" || a.URL != ""):
		return errors.New("auth has either token_file, or url, client_id and client_secret_file")
	case a.ClientID != "" && a.URL == "":
		return errors.New("auth needs the url of the auth controller beside client_id")
	case a.URL != "" && !isHTTP(a.URL):
		return fmt.Errorf("auth.url is %q: allowed is http://… or https://…", a.URL)
	}
	return nil
}

// write replaces the context file, whole or not at all. It is for nobody else to read: it says where secrets lie.
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

func first(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}
