package operatorcli

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// certificateWarningTime is how long before the end of a certificate doctor warns.
const certificateWarningTime = 14 * 24 * time.Hour

func (d *doctor) checkAddress(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, d.cli.flags.timeout)
	defer cancel()

	address := d.target.address
	began := time.Now()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	var dnsErr *net.DNSError

	switch {
	case errors.As(err, &dnsErr):
		d.report("address", resultFail, "check the name in --address, GCCTL_ADDRESS or the context's address",
			"cannot resolve %s: %v", address, dnsErr)
	case err != nil && d.target.isDevStack:
		d.report("address", resultFail, "start the development stack with gcctl dev, or choose a context with --context",
			"cannot connect to %s: %v", address, err)
	case err != nil:
		d.report("address", resultFail, "check that the Global Controller runs, that GC_GRPC_BIND_ADDRESS is right, and the firewalls between",
			"cannot connect to %s: %v", address, err)
	default:
		_ = conn.Close()
		d.report("address", resultOK, "", "connected to %s in %v", address, time.Since(began).Round(100*time.Microsecond))
	}
	return err == nil
}

// checkTLS reports whether a connection can be used, with or without TLS.
func (d *doctor) checkTLS(ctx context.Context) bool {
	if d.target.tls == nil {
		d.checkPlaintext()
		return true
	}
	config, err := d.target.tls.config()
	if err != nil {
		d.report("TLS", resultFail, adviceCA, "%v", err)
		return false
	}
	config.NextProtos = []string{"h2"}

	ctx, cancel := context.WithTimeout(ctx, d.cli.flags.timeout)
	defer cancel()
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", d.target.address)
	if err != nil {
		d.reportHandshakeError(err)
		return false
	}
	defer func() { _ = conn.Close() }()

	//nolint:forcetypeassert // tls.Dialer documents the type, and a handshake has a certificate.
	d.checkCertificateEnd(conn.(*tls.Conn).ConnectionState().PeerCertificates[0].NotAfter)
	return true
}

func (d *doctor) checkPlaintext() {
	if isLoopback(d.target.address) {
		d.report("TLS", resultOK, "", "not used (fine on a loopback address)")
		return
	}
	d.report("TLS", resultWarning, "set GC_TLS_CERT_FILE on the server and tls: {} in the context, unless the network is protected otherwise",
		"not used: the token is sent in plaintext")
}

func (d *doctor) reportHandshakeError(err error) {
	var (
		verifyErr *tls.CertificateVerificationError
		recordErr tls.RecordHeaderError
	)

	switch {
	case errors.As(err, &verifyErr):
		d.report("TLS", resultFail,
			"trust its authority with tls.ca or --ca-file; set tls.server_name if the certificate is for another name",
			"the certificate cannot be verified: %v", verifyErr.Err)
	case errors.As(err, &recordErr):
		d.report("TLS", resultFail, "remove tls from the context, or set GC_TLS_CERT_FILE and GC_TLS_KEY_FILE on the server",
			"%s does not use TLS", d.target.address)
	default:
		d.report("TLS", resultFail, "check that the address is the gRPC address of a Global Controller that uses TLS",
			"the handshake failed: %v", err)
	}
}

func (d *doctor) checkCertificateEnd(end time.Time) {
	switch {
	case d.target.tls.Insecure:
		d.report("TLS", resultWarning, "trust the authority with tls.ca instead of tls.insecure",
			"the certificate is not verified: any server can impersonate %s", d.target.address)
	case end.Sub(d.cli.Now()) < certificateWarningTime:
		d.report("TLS", resultWarning, "renew the certificate", "the certificate is valid only until %s", formatTime(end))
	default:
		d.report("TLS", resultOK, "", "the certificate is valid until %s", formatTime(end))
	}
}

// checkHealth calls the standard health service of gRPC.
func (d *doctor) checkHealth(ctx context.Context) {
	const (
		check         = "gRPC health"
		adviceAddress = "check that the address is the gRPC address of a Global Controller"
	)
	ctx, cancel := context.WithTimeout(ctx, d.cli.flags.timeout)
	defer cancel()

	in := &healthgrpc.HealthCheckRequest{Service: pb.FleetService_ServiceDesc.ServiceName}
	response, err := healthgrpc.NewHealthClient(d.conn.conn).Check(ctx, in)
	switch {
	case status.Code(err) == codes.Unimplemented, status.Code(err) == codes.NotFound:
		d.report(check, resultFail, adviceAddress, "the server at %s has no fleet service", d.target.address)
	case err != nil && d.target.tls == nil:
		d.report(check, resultFail, "if the server uses TLS, give --tls; check that this is not the HTTP address",
			"no response: %s", status.Convert(err).Message())
	case err != nil:
		d.report(check, resultFail, adviceAddress+", and see its log", "no response: %s", status.Convert(err).Message())
	case response.GetStatus() != healthgrpc.HealthCheckResponse_SERVING:
		d.report(check, resultFail, "see the readiness checks (/ready) below", "status: %s", strings.ToLower(response.GetStatus().String()))
	default:
		d.report(check, resultOK, "", "serving")
	}
}
