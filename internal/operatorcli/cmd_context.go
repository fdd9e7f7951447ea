package operatorcli

import (
	"maps"
	"slices"

	"github.com/spf13/cobra"
)

const contextHelp = `A context says how to reach a Global Controller, and as whom. They are kept in a file (--config, GCCTL_CONFIG, or
$XDG_CONFIG_HOME/gcctl/config.yaml, or ~/.config/gcctl/config.yaml):

  current-context: prod
  contexts:
    prod:
      address: gc.example:443               # of gRPC
      http_address: https://gc.example      # for the doctor
      tls:                                  # left out: plaintext; "tls: {}": the authorities of this system
        ca: ~/.config/gcctl/ca.pem
        server_name: gc.example
        insecure: false
      auth:
        url: https://auth.example
        ca: ~/.config/gcctl/auth-ca.pem     # left out: the authorities of this system
        client_id: ops
        client_secret_file: ~/.config/gcctl/ops.secret
        scope: gc:read gc:admin             # left out: all that the client has
      # or: auth: {token_file: /run/secrets/gc-token}

A flag comes before the environment, the environment before the context. Without any context, gcctl speaks to the stack
of gcctl dev on this machine. The file holds no secrets, only where they lie.`

func (t *tool) contextCommand() *cobra.Command {
	return group("context", "name the Global Controllers that you work with", contextHelp,
		"  gcctl context set prod --address gc.example:443 --tls --token-file /run/secrets/gc-token\n  gcctl context use prod\n  gcctl context show",
		t.contextList(), t.contextUse(), t.contextSet(), t.contextRemove(), t.contextShow())
}

func (t *tool) contextList() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "list the contexts", Args: arguments(0, 0, "no arguments"), Example: "  gcctl context ls",
		RunE: func(*cobra.Command, []string) error {
			file, err := t.readContexts()
			if err != nil {
				return err
			}
			if len(file.Contexts) == 0 {
				t.note("there are no contexts: gcctl speaks to the stack of gcctl dev; gcctl context set --help tells how to make one")
				return nil
			}
			table := newTable(nil, "", "NAME", "ADDRESS", "TLS", "AUTH")
			for _, name := range slices.Sorted(maps.Keys(file.Contexts)) {
				p := file.Contexts[name]
				mark := ""
				if name == first(t.flags.context, t.Env("GCCTL_CONTEXT"), file.Current) {
					mark = "*"
				}
				table.add(cells(mark, name, p.Address, map[bool]string{true: "yes", false: "no"}[p.TLS != nil], p.Auth.words())...)
			}
			return table.write(t.Out, t.paint())
		},
	}
}

func (a auth) words() string {
	switch {
	case a.TokenFile != "":
		return "the token in " + a.TokenFile
	case a.ClientID != "":
		return a.ClientID + " at " + a.URL
	}
	return "-"
}

func (t *tool) contextUse() *cobra.Command {
	return &cobra.Command{
		Use: "use NAME", Short: "choose the context that is used unless another is named", Args: arguments(1, 1, "the name of a context"),
		Example: "  gcctl context use prod", ValidArgsFunction: t.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := t.changeContexts(args[0], func(file *contextFile) { file.Current = args[0] }); err != nil {
				return err
			}
			t.print("the context is %s now", clean(args[0]))
			return nil
		},
	}
}

// changeContexts changes the file in which the context of a name has to be.
func (t *tool) changeContexts(name string, change func(*contextFile)) error {
	file, err := t.readContexts()
	if err != nil {
		return err
	}
	if _, err := file.named(name); err != nil {
		return err
	}
	change(&file)
	return t.writeContexts(file)
}

func (t *tool) contextRemove() *cobra.Command {
	return &cobra.Command{
		Use: "rm NAME", Aliases: []string{"remove", "delete"}, Short: "forget a context", Args: arguments(1, 1, "the name of a context"),
		Long:    "rm takes a context out of the file. The files of secrets and authorities that it names stay where they are.",
		Example: "  gcctl context rm staging", ValidArgsFunction: t.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			chosen := false
			err := t.changeContexts(args[0], func(file *contextFile) {
				delete(file.Contexts, args[0])
				if chosen = file.Current == args[0]; chosen {
					file.Current = ""
				}
			})
			if err != nil {
				return err
			}
			t.print("the context %s is forgotten", clean(args[0]))
			if chosen {
				t.note("no context is the current one now; gcctl context use chooses another")
			}
			return nil
		},
	}
}

func (t *tool) contextSet() *cobra.Command {
	return &cobra.Command{
		Use: "set NAME", Short: "make a context from the flags, or change it", Args: arguments(1, 1, "the name of a context"),
		Long: "set writes the connection that the flags describe into a context; what no flag names stays as it was.\nThe first context that is made is the one that is used.\n\n" + contextHelp,
		Example: `  gcctl context set dev --address 127.0.0.1:50051 --http-address 127.0.0.1:8081 --ac http://127.0.0.1:8082 \
    --client dev-admin --client-secret-file ~/.config/gcctl/dev.secret
  gcctl context set prod --address gc.example:443 --tls --token-file /run/secrets/gc-token`,
		ValidArgsFunction: t.completeContexts,
		RunE:              func(_ *cobra.Command, args []string) error { return t.setContext(args[0]) },
	}
}

func (t *tool) setContext(name string) error {
	path, err := t.contextPath()
	if err != nil {
		return err
	}
	var file contextFile
	if isFile(path) {
		if file, err = t.readContexts(); err != nil {
			return err
		}
	}
	p := file.Contexts[name]
	if p == nil {
		p = &place{}
	}
	f := t.flags
	for _, field := range []struct {
		into  *string
		value string
	}{
		{&p.Address, f.address},
		{&p.HTTPAddress, f.httpAddress},
		{&p.Auth.URL, f.ac},
		{&p.Auth.ClientID, f.client},
		{&p.Auth.ClientSecretFile, f.secretFile},
		{&p.Auth.TokenFile, f.tokenFile},
	} {
		*field.into = first(field.value, *field.into)
	}
	p.TLS = t.tlsFlags(p.TLS)
	if err := p.check(); err != nil {
		return wrongUse("%v", err)
	}
	if file.Contexts == nil {
		file.Contexts = make(map[string]*place)
	}
	file.Contexts[name], file.Current = p, first(file.Current, name)
	if err := t.writeContexts(file); err != nil {
		return err
	}
	t.print("the context %s is in %s", clean(name), path)
	return nil
}

// tlsFlags are only what was given as flags: the environment is not written down.
func (t *tool) tlsFlags(old *tlsChoice) *tlsChoice {
	if !t.flags.tls && t.flags.ca == "" {
		return old
	}
	if old == nil {
		old = &tlsChoice{}
	}
	old.CA = first(t.flags.ca, old.CA)
	return old
}

func (t *tool) writeContexts(file contextFile) error {
	path, err := t.contextPath()
	if err != nil {
		return err
	}
	return file.write(path)
}

func (t *tool) contextShow() *cobra.Command {
	return &cobra.Command{
		Use: "show [NAME]", Short: "show what is used, and where it comes from", Args: arguments(0, 1, "the name of at most one context"),
		Example: "  gcctl context show\n  gcctl context show prod", ValidArgsFunction: t.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				t.flags.context = args[0]
			}
			to, err := t.resolve(false)
			if err != nil {
				return err
			}
			p := &page{paint: t.paint()}
			p.title(clean(first(to.context, "no context: the stack of gcctl dev")))
			p.line("address", "%s", to.address)
			p.line("HTTP", "%s", dash(to.httpAddress))
			p.line("TLS", "%s", to.tls.words())
			p.line("token", "%s", to.tokens.words())
			t.print("%s", p.b.String()[:p.b.Len()-1])
			return nil
		},
	}
}

func (c *tlsChoice) words() string {
	switch {
	case c == nil:
		return "no: plaintext"
	case c.Insecure:
		return "yes, and the certificate is NOT verified"
	}
	return "yes; authorities: " + first(c.CA, "those of this system")
}

// words say where a token comes from, without any secret.
func (c credentials) words() string {
	switch {
	case c.tokenFile != "":
		return "the file " + c.tokenFile + ", by " + c.from
	case c.token != "":
		return "itself, by " + c.from
	case c.secretFile != "":
		return "for the client " + c.id + " from " + c.url + ", with the secret in " + c.secretFile + ", by " + c.from
	}
	return "for the client " + c.id + " from " + c.url + ", by " + c.from
}
