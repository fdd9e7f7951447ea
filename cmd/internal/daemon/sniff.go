package daemon

import (
	"net"
	"sync/atomic"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// tlsRecord is the first byte of a connection whose caller speaks TLS. Neither gRPC nor HTTP begins with it.
const tlsRecord = 0x16

// tlsOnPlainPort is why a TLS handshake fails on a port that does not speak TLS.
const tlsOnPlainPort = "the caller speaks TLS, and this port does not"

// sniffed is a connection that reports a caller who speaks TLS. Its peer gets the answer that it got before: none that it
// understands.
type sniffed struct {
	net.Conn
	report func(address, cause string)
	isRead atomic.Bool
}

// Read implements [net.Conn].
func (c *sniffed) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && !c.isRead.Load() && !c.isRead.Swap(true) && p[0] == tlsRecord {
		c.report(hostOf(c.RemoteAddr().String()), tlsOnPlainPort)
	}
	return n, err
}

// sniffedListener has its connections report callers that speak TLS.
type sniffedListener struct {
	net.Listener
	report func(address, cause string)
}

// Accept implements [net.Listener].
func (l sniffedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &sniffed{Conn: conn, report: l.report}, nil
}

// plainCredentials are those of a gRPC port without TLS. A listener of our own would keep gRPC from setting the connection's
// time-out for data that is not acknowledged.
type plainCredentials struct {
	credentials.TransportCredentials
	report func(address, cause string)
}

// ServerHandshake implements [credentials.TransportCredentials].
func (c plainCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return c.TransportCredentials.ServerHandshake(&sniffed{Conn: conn, report: c.report})
}

// Clone implements [credentials.TransportCredentials].
func (c plainCredentials) Clone() credentials.TransportCredentials {
	return plainCredentials{c.TransportCredentials.Clone(), c.report}
}

func (j *judging) plainCredentials() credentials.TransportCredentials {
	return plainCredentials{insecure.NewCredentials(), func(address, cause string) { j.handshakeFailed("grpc", address, cause) }}
}

func (j *judging) plainListener(listener net.Listener) net.Listener {
	return sniffedListener{listener, func(address, cause string) { j.handshakeFailed("http", address, cause) }}
}
