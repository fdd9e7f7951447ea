package operatorcli

import (
	"io"
	"os"

	"darktower.example/global-controller/internal/daemon"
)

// checkServerSettings parses a settings file of the Global Controller.
func (d *doctor) checkServerSettings(file string) {
	if file == "" {
		return
	}

	cfg, err := daemon.ParseConfig([]string{"--gc-config-file", file}, io.Discard)
	if err != nil {
		d.report("GC settings", resultFail, "correct the setting; global-controller --help lists the allowed values", "%v", err)
		return
	}
	d.maxTokenSkew = cfg.ClockSkew
	d.report("GC settings", resultOK, "", "%s is valid; gRPC at %s, HTTP at %s", file, cfg.GRPCBindAddress, cfg.BindAddress)
}

// checkConfiguration resolves the target, and reports whether there is one that can be checked.
func (d *doctor) checkConfiguration() bool {
	to, err := d.cli.resolveTarget(false)
	if err != nil {
		d.report("configuration", resultFail,
			"see gcctl context --help for the format of the context file; flags and the environment take precedence over it", "%v", err)
		return false
	}

	d.target = to
	d.checkContextFile()
	for _, path := range []string{to.credentials.tokenFile, to.credentials.secretFile} {
		if path != "" {
			d.checkSecretFile(path)
		}
	}

	tlsConfig, err := to.tls.config()
	if err != nil {
		d.report("configuration", resultFail, adviceCA, "%v", err)
		return false
	}

	timeout := d.cli.flags.timeout
	d.gcHTTP = newHTTPClient(tlsConfig, timeout)
	if d.acHTTP, err = to.credentials.httpClient(timeout); err != nil {
		d.report("configuration", resultFail, "name a PEM file with the authorities to trust in auth.ca", "%v", err)
		return false
	}
	if d.acHTTP == nil {
		d.acHTTP = newHTTPClient(nil, timeout)
	}

	quiet := *d.cli
	quiet.Err = io.Discard // checkSecretFile has reported what connectTo would warn about.
	d.conn, err = quiet.connectTo(to)
	if err != nil {
		d.report("configuration", resultFail, "", "%v", err)
		return false
	}
	return true
}

func (d *doctor) checkContextFile() {
	name := d.target.context
	path, _ := d.cli.contextPath() // It is valid, because the target was resolved.
	switch {
	case name != "" && isWritableByOthers(path):
		d.report("configuration", resultWarning, "run chmod go-w "+path,
			"other users can change %s, and so redirect your token to another server", path)
	case name != "":
		d.report("configuration", resultOK, "", "context %s of %s", name, path)
	case d.target.isDevStack:
		d.report("configuration", resultOK, "", "no context: the stack of gcctl dev")
	default:
		d.report("configuration", resultOK, "", "flags and environment, no context")
	}
}

func (d *doctor) checkSecretFile(path string) {
	if isReadableByOthers(path) {
		d.report("secret", resultWarning, "run chmod 600 "+path, "other users can read %s", path)
		return
	}
	if _, err := readSecret(path); err != nil {
		d.report("secret", resultFail, "write the secret, and nothing else, to this file", "%v", err)
		return
	}
	d.report("secret", resultOK, "", "%s exists, and only its owner can read it", path)
}

func isWritableByOthers(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o022 != 0
}
