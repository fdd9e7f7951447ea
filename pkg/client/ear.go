package client

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/stats"
)

// ear notes what comes over a link.
type ear struct{ link *link }

// HandleRPC implements [stats.Handler].
func (e ear) HandleRPC(ctx context.Context, s stats.RPCStats) {
	switch s.(type) {
	case *stats.InTrailer:
		if heard, ok := ctx.Value(heardKey{}).(*atomic.Bool); ok {
			heard.Store(true)
		}
	case *stats.InHeader, *stats.InPayload:
	default:
		return
	}
	e.link.heard.Store(int64(time.Since(e.link.made)))
}

// TagRPC implements [stats.Handler].
func (ear) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// TagConn implements [stats.Handler].
func (ear) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements [stats.Handler].
func (ear) HandleConn(context.Context, stats.ConnStats) {}
