package operatorcli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"darktower.example/global-controller/internal/daemon"
)

// The results of a check.
const (
	fine    = "ok"
	warning = "warn"
	bad     = "FAIL"
	skipped = "skip"
)

// finding is what a check found.
type finding struct {
	Check  string `json:"check"`
	Result string `json:"result"`
	Detail string `json:"detail"`
	// Advice says what to do; empty when there is nothing to do.
	Advice string `json:"advice,omitempty"`
}

// doctor looks at one thing after the other. What it has found out is used by the checks that follow.
type doctor struct {
	tool    *tool
	target  target
	session *session // nil: there is none.
	// http is for the Global Controller, acHTTP for the auth controller.
	http, acHTTP *http.Client
	skew         time.Duration
	findings     []finding
	// tell is told each finding as it is found.
	tell func(finding)
	// clocks are what clocks show beside that of this machine.
	clocks map[string]reading
	// keys are the ids of the keys that the auth controller publishes; nil: not known.
	keys map[string]bool
}

// doctorOptions are the flags of doctor.
type doctorOptions struct{ gcConfig, output string }

func (t *tool) doctorCommand() *cobra.Command {
	var o doctorOptions
	c := &cobra.Command{
		Use: "doctor", Short: "find out what is wrong, and what to do about it", Args: arguments(0, 0, "no arguments"),
		Long: `doctor looks at everything between you and a fleet that works, in this order: the configuration, the address, TLS, the
Global Controller's health, its store and its keys, the auth controller, the token and whether the Global Controller
takes it, the clocks, the versions, the callers that are kept out, the health checker, and the fleet. For what is not as
it should be it says what to do. Nothing is changed.

It exits with 0 when nothing failed, and 1 when something did. A warning is no failure.`,
		Example: `  gcctl doctor
  gcctl doctor --context prod
  gcctl doctor --gc-config-file /etc/global-controller.conf   the settings of the service as well
  gcctl doctor -o json | jq '.[] | select(.result == "FAIL")'`,
		RunE: func(c *cobra.Command, _ []string) error { return t.doctor(c.Context(), o) },
	}
	c.Flags().StringVar(&o.gcConfig, "gc-config-file", "", "a `FILE` of settings of the Global Controller (GC_CONFIG_FILE) to check as well")
	outputFlag(c, &o.output, "json", "yaml")
	return c
}

func (t *tool) doctor(ctx context.Context, o doctorOptions) error {
	if err := form(o.output, "json", "yaml"); err != nil {
		return err
	}
	d := &doctor{tool: t, skew: daemon.DefaultConfig().ClockSkew, clocks: make(map[string]reading), tell: func(finding) {}}
	if o.output == "" {
		d.tell = t.writeFinding
	}
	d.examine(ctx, o)
	if d.session != nil {
		d.session.close()
	}
	if isInterrupt(ctx) {
		return ErrInterrupted
	}
	if o.output != "" {
		if err := writeAs(t.Out, o.output, d.findings); err != nil {
			return err
		}
	}
	count := make(map[string]int)
	for _, f := range d.findings {
		count[f.Result]++
	}
	if count[bad] > 0 {
		return failed(ExitFailure, "%s failed", counted(int64(count[bad]), "check", "checks"))
	}
	return nil
}

// examine stops early only where nothing that follows could be looked at.
func (d *doctor) examine(ctx context.Context, o doctorOptions) {
	d.checkSettings(o.gcConfig)
	if !d.checkContext() {
		return
	}
	reached := d.checkAddress(ctx) && d.checkTLS(ctx)
	if reached {
		d.checkHealth(ctx)
	}
	d.checkReady(ctx)
	d.checkAuthController(ctx)
	if d.checkToken(ctx) && reached && d.checkAccess(ctx) {
		defer d.checkFleet(ctx)
	}
	d.checkClocks()
	d.checkMetrics(ctx)
}

func (d *doctor) found(check, result, advice, format string, values ...any) {
	f := finding{check, result, clean(fmt.Sprintf(format, values...)), clean(advice)}
	d.findings = append(d.findings, f)
	d.tell(f)
}

func (t *tool) writeFinding(f finding) {
	styles := map[string]style{fine: green, warning: yellow, bad: red, skipped: dim}
	p := t.paint()
	t.print("%s  %-15s %s", p.paint(styles[f.Result], fmt.Sprintf("%-4s", f.Result)), f.Check, f.Detail)
	if f.Advice != "" {
		t.print("      %-15s → %s", "", f.Advice)
	}
}

// checkSettings reads the service's own settings as it would read them itself.
func (d *doctor) checkSettings(file string) {
	if file == "" {
		return
	}
	cfg, err := daemon.ParseConfig([]string{"--gc-config-file", file}, io.Discard)
	if err != nil {
		d.found("GC settings", bad, "mend the setting; global-controller --help lists what is allowed", "%v", err)
		return
	}
	d.skew = cfg.ClockSkew
	d.found("GC settings", fine, "", "%s is as it should be; gRPC at %s, HTTP at %s", file, cfg.GRPCBindAddress, cfg.BindAddress)
}

// checkContext tells whether it is known where to look.
func (d *doctor) checkContext() bool {
	t := d.tool
	to, err := t.resolve(false)
	if err != nil {
		d.found("configuration", bad, "gcctl context --help shows the form of the context file; flags and the environment come before it", "%v", err)
		return false
	}
	d.target = to
	path, _ := t.contextPath()
	switch {
	case to.context != "" && writableByOthers(path):
		d.found("configuration", warning, "chmod go-w "+path, "others can change %s, and with it whom your token is sent to", path)
	case to.context != "":
		d.found("configuration", fine, "", "the context %s of %s", to.context, path)
	case to.dev:
		d.found("configuration", fine, "", "no context: the stack of gcctl dev")
	default:
		d.found("configuration", fine, "", "flags and environment, without a context")
	}
	for _, secret := range []string{to.tokens.tokenFile, to.tokens.secretFile} {
		switch {
		case secret == "":
		case openToOthers(secret):
			d.found("secret", warning, "chmod 600 "+secret, "others can read %s", secret)
		default:
			if _, err := readSecret(secret); err != nil {
				d.found("secret", bad, "put the secret there, and nothing else", "%v", err)
			} else {
				d.found("secret", fine, "", "%s is there, and for nobody else to read", secret)
			}
		}
	}
	config, err := to.tls.config()
	if err != nil {
		d.found("configuration", bad, "name a PEM file with the authorities to trust: tls.ca or --ca-file", "%v", err)
		return false
	}
	d.http = &http.Client{Timeout: t.flags.timeout, Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, DisableKeepAlives: true}}
	if d.acHTTP, err = to.tokens.client(t.flags.timeout); err != nil {
		d.found("configuration", bad, "name a PEM file with the authorities to trust: auth.ca", "%v", err)
		return false
	}
	if d.acHTTP == nil {
		d.acHTTP = &http.Client{Timeout: t.flags.timeout, Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}}
	}
	silent := *t
	silent.Err = io.Discard // It is told above what others may read.
	d.session, err = silent.openTarget(to)
	if err != nil {
		d.found("configuration", bad, "", "%v", err)
		return false
	}
	return true
}

func writableByOthers(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o022 != 0
}
