package daemon

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
)

// collectAt is how much the heap grows between collections, in percent of what lives: the service holds little and
// allocates much, so the usual 100 would have it collect dozens of times a second. GOGC overrides it.
const collectAt = 400

// Main runs the command line of the daemon and returns its exit code: 0 for success, 1 for failure, 2 for a wrong use.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	command := ""
	if len(args) > 0 && (args[0] == "migrate" || args[0] == "probe" || args[0] == "version") {
		command, args = args[0], args[1:]
	}
	if command == "version" {
		_, _ = fmt.Fprintln(stdout, Version)
		return 0
	}
	// What is asked of migrate comes before the flags.
	var order migrateOrder
	if command == "migrate" {
		order, args = readMigrateOrder(args)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	cfg, err := ParseConfig(args, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		_, _ = fmt.Fprintln(stderr, err)
		return 2
	}
	logger := NewLogger(stderr, cfg)
	switch command {
	case "migrate":
		err = migrate(ctx, cfg, order, stdout, logger)
	case "probe":
		err = probe(ctx, cfg)
	default:
		var server *Server
		if server, err = New(cfg, logger); err == nil {
			err = server.Run(ctx)
		}
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "global-controller:", err)
		return 1
	}
	return 0
}

// NewLogger returns a structured logger that writes to w.
func NewLogger(w io.Writer, cfg Config) log.Logger {
	logger := log.NewLogfmtLogger(log.NewSyncWriter(w))
	if cfg.LogFormat == "json" {
		logger = log.NewJSONLogger(log.NewSyncWriter(w))
	}
	// The configuration admits the four levels only.
	least := level.ParseDefault(cfg.LogLevel, level.InfoValue())
	return log.With(level.NewFilter(logger, level.Allow(least)), "ts", log.DefaultTimestampUTC)
}

// probe asks the service on this machine whether it is ready; containers are watched with it.
func probe(ctx context.Context, cfg Config) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	client, scheme := &http.Client{}, "http"
	if cfg.TLSCertFile != "" {
		certificate, err := tls.LoadX509KeyPair(cfg.TLSCertFile, cfg.TLSKeyFile)
		if err != nil {
			return fmt.Errorf("read GC_TLS_CERT_FILE and GC_TLS_KEY_FILE: %w", err)
		}
		scheme, client.Transport = "https", &http.Transport{TLSClientConfig: trustOnly(certificate)}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+cfg.BindAddress+"/ready", nil)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: status %d", response.StatusCode)
	}
	return nil
}

// trustOnly trusts the very certificate: it was made for the name that callers use, not for the address to bind.
func trustOnly(certificate tls.Certificate) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // The check below is stricter.
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 || !bytes.Equal(state.PeerCertificates[0].Raw, certificate.Certificate[0]) {
				return errors.New("another certificate than that of GC_TLS_CERT_FILE")
			}
			return nil
		},
	}
}
