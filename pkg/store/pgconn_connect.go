package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"sync"
	"time"
)

// connectResult is the result of connecting to one server.
type connectResult struct {
	server int
	conn   driver.Conn
	err    error
}

// Connect implements [driver.Connector]. It tries the servers of the address one after the other, the preferred one first.
// It starts the next try when one fails or after nextServerAfter, and returns the first connection.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	if len(c.direct) == 1 {
		conn, err := c.connectTo(ctx, 0)
		if err != nil {
			return nil, &connectError{err}
		}
		return conn, nil
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // It ends the tries that are in progress.

	order := c.serverGroup.orderServers(len(c.direct))
	results := make(chan connectResult, len(order))
	started := 0
	startNext := func() {
		if started == len(order) {
			return
		}
		server := order[started]
		started++
		go func() {
			conn, err := c.connectTo(ctx, server)
			results <- connectResult{server: server, conn: conn, err: err}
		}()
	}

	startNext()
	ticker := time.NewTicker(nextServerAfter)
	defer ticker.Stop()

	var errs []error
	for len(errs) < len(order) {
		select {
		case result := <-results:
			if result.err == nil {
				c.serverGroup.preferredServer.Store(int32(result.server)) //nolint:gosec // There are few servers.
				go closeUnused(results, started-len(errs)-1)
				return result.conn, nil
			}
			errs = append(errs, result.err)
			startNext()
			ticker.Reset(nextServerAfter)
		case <-ticker.C:
			startNext()
		}
	}
	return nil, &connectError{errors.Join(errs...)}
}

// closeUnused closes the connections of tries that end after the first success.
func closeUnused(results <-chan connectResult, pending int) {
	for range pending {
		if result := <-results; result.err == nil {
			_ = result.conn.Close()
		}
	}
}

// handshake ends the making of a connection with its context, which the driver ignores.
type handshake struct {
	ctx     context.Context //nolint:containedctx // The driver passes no context on.
	mu      sync.Mutex
	isEnded bool
	stops   []func() bool
}

// track closes a connection if the context ends before the handshake has.
func (h *handshake) track(conn *timeoutConn) {
	if h == nil {
		return
	}

	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.isEnded {
		h.stops = append(h.stops, context.AfterFunc(h.ctx, func() { _ = conn.Close() }))
	}
}

// end ends the handshake. It returns false if the context has ended and closed a connection.
func (h *handshake) end() (isOpen bool) {
	h.mu.Lock()
	defer h.mu.Unlock()

	h.isEnded = true
	for _, stop := range h.stops {
		if !stop() {
			return false
		}
	}
	return true
}
