package operatorcli

import (
	"cmp"
	"maps"
	"slices"

	"github.com/spf13/cobra"
)

const contextHelp = `A context describes how to connect to a Global Controller, and with which credentials. Contexts are kept in a file
(--config, GCCTL_CONFIG, $XDG_CONFIG_HOME/gcctl/config.yaml or ~/.config/gcctl/config.yaml):

  current-context: prod
  contexts:
    prod:
      address: gc.example:443               # of gRPC
      http_address: https://gc.example      # for gcctl doctor
      tls:                                  # without it: plaintext; "tls: {}": trust the authorities of this system
        ca: ~/.config/gcctl/ca.pem
        server_name: gc.example
        insecure: false
      auth:
        url: https://auth.example
        ca: ~/.config/gcctl/auth-ca.pem     # without it: the authorities of this system
        client_id: ops
        client_secret_file: ~/.config/gcctl/ops.secret
        scope: gc:read gc:admin             # without it: all scopes of the client
      # or: auth: {token_file: /run/secrets/gc-token}

A flag takes precedence over the environment, and the environment over the context. Without a context, gcctl connects to
the stack of gcctl dev on this machine. The file contains no secrets, only the names of the files that have them.`

func (c *cli) contextCommand() *cobra.Command {
	return commandGroup("context", "manage connections to Global Controllers", contextHelp,
		`  gcctl context set prod --address gc.example:443 --tls --token-file /run/secrets/gc-token
  gcctl context use prod
  gcctl context show`,
		c.contextListCommand(),
		c.contextUseCommand(),
		c.contextSetCommand(),
		c.contextRemoveCommand(),
		c.contextShowCommand(),
	)
}

func (c *cli) contextListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "list the contexts",
		Example: "  gcctl context ls",
		Args:    requireArgs(0, 0, "no arguments"),
		RunE:    func(*cobra.Command, []string) error { return c.listContexts() },
	}
}

func (c *cli) listContexts() error {
	file, err := c.readContextFile()
	if err != nil {
		return err
	}
	if len(file.Contexts) == 0 {
		c.note("there are no contexts: gcctl connects to the stack of gcctl dev; create a context with gcctl context set")
		return nil
	}

	current := cmp.Or(c.flags.context, c.Env("GCCTL_CONTEXT"), file.Current)
	t := newTable(nil, "", "NAME", "ADDRESS", "TLS", "AUTH")
	for _, name := range slices.Sorted(maps.Keys(file.Contexts)) {
		context := file.Contexts[name]
		mark := ""
		if name == current {
			mark = "*"
		}
		t.add(cells(mark, name, context.Address, formatYesNo(context.TLS != nil), context.Auth.describe())...)
	}
	return t.write(c.Out, c.painter())
}

// describe returns where tokens come from.
func (a authConfig) describe() string {
	switch {
	case a.TokenFile != "":
		return "token in " + a.TokenFile
	case a.ClientID != "":
		return "client " + a.ClientID + " at " + a.URL
	}
	return "-"
}

func (c *cli) contextUseCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "use NAME",
		Short:             "set the context that is used by default",
		Example:           "  gcctl context use prod",
		Args:              requireArgs(1, 1, "one context name"),
		ValidArgsFunction: c.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := c.updateContextFile(args[0], func(file *contextFile) { file.Current = args[0] }); err != nil {
				return err
			}
			c.print("the current context is %s", clean(args[0]))
			return nil
		},
	}
}

func (c *cli) contextRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "rm NAME",
		Aliases:           []string{"remove", "delete"},
		Short:             "remove a context",
		Long:              "rm removes a context from the file. It does not delete the files of secrets and authorities that the context names.",
		Example:           "  gcctl context rm staging",
		Args:              requireArgs(1, 1, "one context name"),
		ValidArgsFunction: c.completeContexts,
		RunE:              func(_ *cobra.Command, args []string) error { return c.removeContext(args[0]) },
	}
}

func (c *cli) removeContext(name string) error {
	wasCurrent := false
	err := c.updateContextFile(name, func(file *contextFile) {
		delete(file.Contexts, name)
		if file.Current == name {
			wasCurrent = true
			file.Current = ""
		}
	})
	if err != nil {
		return err
	}

	c.print("context %s is removed", clean(name))
	if wasCurrent {
		c.note("there is no current context now: set one with gcctl context use")
	}
	return nil
}

// updateContextFile changes the context file. The context with the name must exist.
func (c *cli) updateContextFile(name string, update func(*contextFile)) error {
	file, err := c.readContextFile()
	if err != nil {
		return err
	}
	if _, err := file.find(name); err != nil {
		return err
	}
	update(&file)
	return c.writeContextFile(file)
}

func (c *cli) writeContextFile(file contextFile) error {
	path, err := c.contextPath()
	if err != nil {
		return err
	}
	return file.write(path)
}

func (c *cli) contextSetCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "set NAME",
		Short: "create or change a context from the flags",
		Long: "set writes the connection that the flags describe to a context. Fields that no flag sets stay as they are. The first\n" +
			"context becomes the current one.\n\n" + contextHelp,
		Example: `  gcctl context set dev --address 127.0.0.1:50051 --http-address 127.0.0.1:8081 --ac http://127.0.0.1:8082 \
    --client dev-admin --client-secret-file ~/.config/gcctl/dev.secret
  gcctl context set prod --address gc.example:443 --tls --token-file /run/secrets/gc-token`,
		Args:              requireArgs(1, 1, "one context name"),
		ValidArgsFunction: c.completeContexts,
		RunE:              func(_ *cobra.Command, args []string) error { return c.setContext(args[0]) },
	}
}

func (c *cli) setContext(name string) error {
	path, err := c.contextPath()
	if err != nil {
		return err
	}
	var file contextFile
	if fileExists(path) {
		if file, err = c.readContextFile(); err != nil {
			return err
		}
	}

	context := file.Contexts[name]
	if context == nil {
		context = &contextConfig{}
	}
	c.applyFlags(context)
	if err := context.check(); err != nil {
		return usageError("%v", err)
	}

	if file.Contexts == nil {
		file.Contexts = make(map[string]*contextConfig)
	}
	file.Contexts[name] = context
	file.Current = cmp.Or(file.Current, name)
	if err := file.write(path); err != nil {
		return err
	}
	c.print("wrote context %s to %s", clean(name), path)
	return nil
}

// applyFlags sets the fields of a context whose flags are given. The environment has no effect.
func (c *cli) applyFlags(context *contextConfig) {
	set := func(field *string, value string) { *field = cmp.Or(value, *field) }
	set(&context.Address, c.flags.address)
	set(&context.HTTPAddress, c.flags.httpAddress)
	set(&context.Auth.URL, c.flags.acURL)
	set(&context.Auth.ClientID, c.flags.clientID)
	set(&context.Auth.ClientSecretFile, c.flags.clientSecretFile)
	set(&context.Auth.TokenFile, c.flags.tokenFile)

	if c.flags.tls || c.flags.caFile != "" {
		if context.TLS == nil {
			context.TLS = &tlsOptions{}
		}
		set(&context.TLS.CA, c.flags.caFile)
	}
}

func (c *cli) contextShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "show [NAME]",
		Short:             "show the connection in use, and where its settings come from",
		Example:           "  gcctl context show\n  gcctl context show prod",
		Args:              requireArgs(0, 1, "at most one context name"),
		ValidArgsFunction: c.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				c.flags.context = args[0]
			}
			return c.showTarget()
		},
	}
}

func (c *cli) showTarget() error {
	to, err := c.resolveTarget(false)
	if err != nil {
		return err
	}

	p := &page{painter: c.painter()}
	p.title(clean(cmp.Or(to.context, "no context: the stack of gcctl dev")))
	p.line("address", "%s", to.address)
	p.line("HTTP", "%s", orDash(to.httpAddress))
	p.line("TLS", "%s", to.tls.describe())
	p.line("token", "%s", to.credentials.describe())
	c.print("%s", p.text())
	return nil
}
