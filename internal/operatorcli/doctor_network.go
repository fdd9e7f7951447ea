package operatorcli

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

const (
	// maxAnswer bounds what is read of an answer over HTTP.
	maxAnswer = 8 << 20
	// soonOver is how long before its end a certificate is worth a warning.
	soonOver = 14 * 24 * time.Hour
)

func (d *doctor) checkAddress(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, d.tool.flags.timeout)
	defer cancel()
	began := time.Now()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", d.target.address)
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		d.found("address", bad, "is the name right? --address, GCCTL_ADDRESS or the context's address says it", "the name in %s is not known: %v", d.target.address, dns)
	case err != nil && d.target.dev:
		d.found("address", bad, "start the development stack with gcctl dev, or name a context with --context", "nobody answers at %s: %v", d.target.address, err)
	case err != nil:
		d.found("address", bad, "does the Global Controller run (GC_GRPC_BIND_ADDRESS), and does no firewall stand between?", "nobody answers at %s: %v", d.target.address, err)
	default:
		_ = conn.Close()
		d.found("address", fine, "", "%s answers in %v", d.target.address, time.Since(began).Round(100*time.Microsecond))
	}
	return err == nil
}

func (d *doctor) checkTLS(ctx context.Context) bool {
	if d.target.tls == nil {
		if !isLoopback(d.target.address) {
			d.found("TLS", warning, "set GC_TLS_CERT_FILE there and tls: {} in the context, unless something else protects the line", "none: the token travels in plaintext")
		} else {
			d.found("TLS", fine, "", "none, which does for this machine")
		}
		return true
	}
	config, err := d.target.tls.config()
	if err != nil {
		d.found("TLS", bad, "name a PEM file with the authorities to trust: tls.ca or --ca-file", "%v", err)
		return false
	}
	config.NextProtos = []string{"h2"}
	ctx, cancel := context.WithTimeout(ctx, d.tool.flags.timeout)
	defer cancel()
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", d.target.address)
	var (
		unverified *tls.CertificateVerificationError
		record     tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &unverified):
		d.found("TLS", bad, "trust its authority with tls.ca or --ca-file; tls.server_name when the certificate is for another name", "the certificate does not verify: %v", unverified.Err)
		return false
	case errors.As(err, &record):
		d.found("TLS", bad, "take tls out of the context, or set GC_TLS_CERT_FILE and GC_TLS_KEY_FILE there", "%s does not speak TLS", d.target.address)
		return false
	case err != nil:
		d.found("TLS", bad, "does the address name the gRPC of a Global Controller that speaks TLS?", "the handshake broke off: %v", err)
		return false
	}
	defer func() { _ = conn.Close() }()
	over := conn.(*tls.Conn).ConnectionState().PeerCertificates[0].NotAfter //nolint:forcetypeassert // By its documentation; a handshake has a certificate.
	left := over.Sub(d.tool.Now())
	switch {
	case d.target.tls.Insecure:
		d.found("TLS", warning, "trust the authority with tls.ca instead of tls.insecure", "the certificate is not verified: anybody can pose as %s", d.target.address)
	case left < soonOver:
		d.found("TLS", warning, "renew the certificate", "the certificate is valid until %s only", instant(over))
	default:
		d.found("TLS", fine, "", "the certificate is valid until %s", instant(over))
	}
	return true
}

func (d *doctor) checkHealth(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, d.tool.flags.timeout)
	defer cancel()
	got, err := healthgrpc.NewHealthClient(d.session.conn).Check(ctx, &healthgrpc.HealthCheckRequest{Service: pb.FleetService_ServiceDesc.ServiceName})
	switch {
	case status.Code(err) == codes.Unimplemented, status.Code(err) == codes.NotFound:
		d.found("gRPC health", bad, "does the address name the gRPC of a Global Controller?", "what answers at %s does not know the fleet", d.target.address)
	case err != nil && d.target.tls == nil:
		d.found("gRPC health", bad, "does it speak TLS (--tls), or is this its HTTP address?", "no answer: %s", status.Convert(err).Message())
	case err != nil:
		d.found("gRPC health", bad, "does the address name the gRPC of a Global Controller? Its log says more", "no answer: %s", status.Convert(err).Message())
	case got.GetStatus() != healthgrpc.HealthCheckResponse_SERVING:
		d.found("gRPC health", bad, "the checks of /ready that follow tell what it lacks", "it says that it does not serve: %s", strings.ToLower(got.GetStatus().String()))
	default:
		d.found("gRPC health", fine, "", "serving")
	}
}

// url is where the Global Controller has something over HTTP.
func (d *doctor) url(path string) string {
	base := strings.TrimSuffix(d.target.httpAddress, "/")
	if !strings.Contains(base, "://") {
		scheme := "http://"
		if d.target.tls != nil {
			scheme = "https://"
		}
		base = scheme + base
	}
	return base + path
}

// get gets something over HTTP, and reads the other clock on the way.
func (d *doctor) get(ctx context.Context, client *http.Client, url, clock string) (status int, body []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	before := d.tool.Now()
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		// The header has whole seconds, and was written some time between asking and now.
		d.clocks[clock] = readingOf(date.Add(500*time.Millisecond), before, d.tool.Now(), 500*time.Millisecond)
	}
	body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	return response.StatusCode, body, err
}

// readyAdvice says what to do about each check of /ready.
var readyAdvice = map[string]string{
	"store":  "does the database run, and is DATABASE_URL right? The log of the Global Controller says more",
	"keys":   "is AC_JWKS_URL right, and can the Global Controller reach the auth controller?",
	"clock":  "have the Global Controller's machine set its clock by NTP; it judges no tokens until then",
	"server": "it is stopping; is another one up?",
}

func (d *doctor) checkReady(ctx context.Context) {
	if d.target.httpAddress == "" {
		d.found("/ready", skipped, "set http_address in the context, or give --http-address", "where HTTP is served is not known: /ready, the clock and the version are not looked at")
		return
	}
	code, body, err := d.get(ctx, d.http, d.url("/ready"), clockGC)
	if err != nil {
		d.found("/ready", bad, "is http_address right (BIND_ADDRESS of the Global Controller)?", "no answer over HTTP: %v", err)
		return
	}
	var ready struct {
		Ready  *bool             `json:"ready"`
		Checks map[string]string `json:"checks"`
	}
	if json.Unmarshal(body, &ready) != nil || ready.Ready == nil {
		d.found("/ready", bad, "does http_address name the HTTP of a Global Controller?", "%s is something else (status %d)", d.url("/ready"), code)
		return
	}
	if *ready.Ready {
		d.found("/ready", fine, "", "ready: %s", strings.Join(slices.Sorted(maps.Keys(ready.Checks)), ", "))
		return
	}
	for _, name := range slices.Sorted(maps.Keys(ready.Checks)) {
		if state := ready.Checks[name]; state != "ok" {
			d.found("/ready", bad, adviceForState(name, state), "not ready: %s is %q", name, state)
		} else {
			d.found("/ready", fine, "", "%s", name)
		}
	}
}
