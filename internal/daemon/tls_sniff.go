package daemon

import (
	"net"
	"sync/atomic"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// tlsRecord is the first byte that a TLS client sends. Neither gRPC nor HTTP starts with it.
const tlsRecord = 0x16

// causePlaintextPort is the cause of a TLS handshake that fails on a plaintext port.
const causePlaintextPort = "the caller speaks TLS, and this port does not"

// sniffedConn is a connection that reports a TLS client on a plaintext port. It does not change the response to that client.
type sniffedConn struct {
	net.Conn
	report func(address, cause string)
	isRead atomic.Bool // Something was read.
}

// Read implements [net.Conn].
func (c *sniffedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && !c.isRead.Load() && !c.isRead.Swap(true) && p[0] == tlsRecord {
		c.report(hostOf(c.RemoteAddr().String()), causePlaintextPort)
	}
	return n, err
}

// sniffedListener wraps each accepted connection in a sniffedConn.
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
	return &sniffedConn{Conn: conn, report: l.report}, nil
}

// plainCredentials are the credentials of a gRPC port without TLS. They are used instead of a listener, because gRPC sets the
// timeout for unacknowledged data only on a *net.TCPConn.
type plainCredentials struct {
	credentials.TransportCredentials
	report func(address, cause string)
}

// ServerHandshake implements [credentials.TransportCredentials].
func (c plainCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return c.TransportCredentials.ServerHandshake(&sniffedConn{Conn: conn, report: c.report})
}

// Clone implements [credentials.TransportCredentials].
func (c plainCredentials) Clone() credentials.TransportCredentials {
	return plainCredentials{c.TransportCredentials.Clone(), c.report}
}

func (l *eventLog) newPlainCredentials() credentials.TransportCredentials {
	return plainCredentials{insecure.NewCredentials(), func(address, cause string) { l.recordHandshakeFailure("grpc", address, cause) }}
}

func (l *eventLog) newPlainListener(listener net.Listener) net.Listener {
	return sniffedListener{listener, func(address, cause string) { l.recordHandshakeFailure("http", address, cause) }}
}
