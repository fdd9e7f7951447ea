package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"sync"
	"time"
)

// attempt is how the connection to one server ended.
type attempt struct {
	server int
	conn   driver.Conn
	err    error
}

// Connect implements [driver.Connector].
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	if len(c.direct) == 1 {
		conn, err := c.connectTo(ctx, 0)
		if err != nil {
			return nil, &connectError{err}
		}
		return conn, nil
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // It ends the attempts that are still under way.
	order := c.cluster.order(len(c.direct))
	attempts := make(chan attempt, len(order))
	tried := 0
	try := func() {
		server := order[tried]
		tried++
		go func() {
			conn, err := c.connectTo(ctx, server)
			attempts <- attempt{server: server, conn: conn, err: err}
		}()
	}
	try()
	patience := time.NewTicker(nextServerAfter)
	defer patience.Stop()

	var errs []error
	for ended := 0; ended < len(order); {
		select {
		case a := <-attempts:
			if a.err == nil {
				c.cluster.preferred.Store(int32(a.server)) //nolint:gosec // There are few servers.
				go closeOthers(attempts, tried-ended-1)
				return a.conn, nil
			}
			ended++
			errs = append(errs, a.err)
			if tried < len(order) {
				try()
				patience.Reset(nextServerAfter)
			}
		case <-patience.C:
			if tried < len(order) {
				try()
			}
		}
	}
	return nil, &connectError{errors.Join(errs...)}
}

// closeOthers closes the connections that were not needed.
func closeOthers(attempts <-chan attempt, left int) {
	for range left {
		if a := <-attempts; a.err == nil {
			_ = a.conn.Close()
		}
	}
}

// handshake bounds the making of a connection by its context, to which the driver does not look.
type handshake struct {
	ctx   context.Context //nolint:containedctx // The driver hands none on.
	mu    sync.Mutex
	ended bool
	stops []func() bool
}

// watch closes a connection when the context ends before the handshake has.
func (h *handshake) watch(conn *impatientConn) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.ended {
		h.stops = append(h.stops, context.AfterFunc(h.ctx, func() { _ = conn.Close() }))
	}
}

// end reports whether the connections of the handshake are as they were: false when its context has closed one.
func (h *handshake) end() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	for _, stop := range h.stops {
		if !stop() {
			return false
		}
	}
	return true
}
