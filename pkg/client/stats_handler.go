package client

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/stats"
)

// activityHandler records when data arrives over a link, and whether the peer ended a call.
type activityHandler struct{ link *link }

// HandleRPC implements [stats.Handler].
func (h activityHandler) HandleRPC(ctx context.Context, s stats.RPCStats) {
	switch s.(type) {
	case *stats.InTrailer:
		if isPeerEnded, ok := ctx.Value(peerEndedKey{}).(*atomic.Bool); ok {
			isPeerEnded.Store(true)
		}
	case *stats.InHeader, *stats.InPayload:
	default:
		return
	}
	h.link.lastReceived.Store(int64(time.Since(h.link.openedAt)))
}

// TagRPC implements [stats.Handler].
func (activityHandler) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// TagConn implements [stats.Handler].
func (activityHandler) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements [stats.Handler].
func (activityHandler) HandleConn(context.Context, stats.ConnStats) {}

// peerEndedKey is the context key of the flag that activityHandler sets when the Global Controller itself ends a call.
type peerEndedKey struct{}

// withPeerEndedFlag returns a context for a call, and a flag that is true after the peer itself ended the call. The flag is
// necessary because UNAVAILABLE of gRPC does not distinguish a peer that sent it from a connection that was lost.
func withPeerEndedFlag(ctx context.Context) (context.Context, *atomic.Bool) {
	isPeerEnded := new(atomic.Bool)
	return context.WithValue(ctx, peerEndedKey{}, isPeerEnded), isPeerEnded
}
