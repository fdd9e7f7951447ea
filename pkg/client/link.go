package client

import (
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
)

// link is one gRPC connection to one address. A broken link is replaced, not reconnected: gRPC's own reconnection waits
// longer the longer an outage lasts, and does not use the other addresses.
type link struct {
	conn         *grpc.ClientConn
	addressIndex int
	openedAt     time.Time
	// users counts the calls and streams on the link, and the connection itself while this is the current link of its
	// address. The lock of the connection protects it, and streams.
	users int
	// streams counts the heartbeat streams among the users.
	streams int

	// isStreamUnsupported is true after the Global Controller returned UNIMPLEMENTED for a stream.
	isStreamUnsupported atomic.Bool
	// streamRetryAt is when to open a stream again after the Global Controller refused one, in Unix nanoseconds.
	streamRetryAt atomic.Int64
	// lastReceived is when data last arrived, in nanoseconds since openedAt.
	lastReceived atomic.Int64
	// lastResponse is when a call last got a response, in nanoseconds since openedAt.
	lastResponse atomic.Int64
}

// hasReceivedSince reports whether data has arrived over the link since then.
func (l *link) hasReceivedSince(then time.Time) bool {
	return time.Duration(l.lastReceived.Load()) > then.Sub(l.openedAt)
}

// markResponse records that a call got a response.
func (l *link) markResponse() { l.lastResponse.Store(int64(time.Since(l.openedAt))) }

// hasResponseSince reports whether a call of any client has got a response over the link since then.
func (l *link) hasResponseSince(then time.Time) bool {
	return time.Duration(l.lastResponse.Load()) > then.Sub(l.openedAt)
}
