package fleetsim

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

const (
	// proxyChunkSize is how many bytes a proxy reads at once.
	proxyChunkSize = 32 << 10
	// proxyQueueLength is how many chunks may wait for their delay in each direction.
	proxyQueueLength = 256
)

// Proxy forwards TCP connections to one address. It can simulate a slow, a frozen or an interrupted network.
type Proxy struct {
	target    string
	listener  net.Listener
	running   sync.WaitGroup
	closeOnce sync.Once

	mu          sync.Mutex
	connections map[net.Conn]struct{}
	isCut       bool
	latency     time.Duration
	resumed     chan struct{} // closed while the proxy is not frozen
	closed      chan struct{}
}

// NewProxy starts a proxy that listens on a free port of the loopback interface.
func NewProxy(target string) (*Proxy, error) {
	var config net.ListenConfig
	listener, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the proxy to %s: %w", target, err)
	}

	p := &Proxy{
		target:      target,
		listener:    listener,
		connections: make(map[net.Conn]struct{}),
		resumed:     make(chan struct{}),
		closed:      make(chan struct{}),
	}
	close(p.resumed)
	p.running.Go(p.acceptConnections)
	return p, nil
}

// Address returns the address on which the proxy listens.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Freeze stops forwarding in both directions. Connections stay open and new ones are accepted, as if a network dropped
// all packets.
func (p *Proxy) Freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.resumed:
		p.resumed = make(chan struct{})
	default: // It is frozen already.
	}
}

// Resume ends Freeze. Data that was sent meanwhile is forwarded now.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.resumed:
	default:
		close(p.resumed)
	}
}

// Cut closes all connections. It also closes new ones as soon as they are accepted.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.isCut = true
	for conn := range p.connections {
		_ = conn.Close()
	}
}

// Restore ends Cut.
func (p *Proxy) Restore() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.isCut = false
}

// SetLatency delays all data in each direction. The throughput stays the same.
func (p *Proxy) SetLatency(latency time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.latency = latency
}

// Close stops the proxy and closes its connections.
func (p *Proxy) Close() error {
	p.Cut()
	var err error
	p.closeOnce.Do(func() {
		close(p.closed)
		err = p.listener.Close()
	})
	p.running.Wait()
	return err
}

func (p *Proxy) acceptConnections() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return // The listener is closed.
		}
		p.running.Go(func() { p.serve(conn) })
	}
}

func (p *Proxy) serve(accepted net.Conn) {
	defer func() { _ = accepted.Close() }()
	if !p.addConnection(accepted) {
		return
	}
	defer p.removeConnection(accepted)
	if !p.waitWhileFrozen() {
		return
	}

	dialer := net.Dialer{Timeout: 5 * time.Second}
	dialed, err := dialer.DialContext(context.Background(), "tcp", p.target)
	if err != nil {
		return
	}
	defer func() { _ = dialed.Close() }()
	if !p.addConnection(dialed) {
		return
	}
	defer p.removeConnection(dialed)

	var directions sync.WaitGroup
	directions.Go(func() { p.forward(accepted, dialed) })
	directions.Go(func() { p.forward(dialed, accepted) })
	directions.Wait()
}

// addConnection reports whether the connection may be used, which it may not while the proxy is cut.
func (p *Proxy) addConnection(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isCut {
		return false
	}
	p.connections[conn] = struct{}{}
	return true
}

func (p *Proxy) removeConnection(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.connections, conn)
}

// waitWhileFrozen waits while the proxy is frozen. It returns false when the proxy is closed.
func (p *Proxy) waitWhileFrozen() bool {
	p.mu.Lock()
	resumed := p.resumed
	p.mu.Unlock()
	select {
	case <-resumed:
		return true
	case <-p.closed:
		return false
	}
}

// chunk is data with the earliest time at which it may be written.
type chunk struct {
	data []byte
	due  time.Time
}

// forward copies data in one direction. Chunks wait in a queue until they are due, so latency does not reduce throughput.
func (p *Proxy) forward(from, to net.Conn) {
	queue := make(chan chunk, proxyQueueLength)
	defer close(queue)
	p.running.Go(func() { p.writeChunks(queue, from, to) })

	buffer := make([]byte, proxyChunkSize)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			p.mu.Lock()
			latency := p.latency
			p.mu.Unlock()
			queue <- chunk{data: append([]byte(nil), buffer[:n]...), due: time.Now().Add(latency)}
		}

		if err != nil {
			return
		}
	}
}

// writeChunks writes the chunks of a queue until it ends, and then closes the connection that it writes to.
func (p *Proxy) writeChunks(queue <-chan chunk, from, to net.Conn) {
	defer func() { _ = to.Close() }()
	defer func() {
		// After an error the queue is emptied, so that the reader does not block on a full one.
		for range queue {
		}
	}()

	for c := range queue {
		if !p.waitUntil(c.due) || !p.waitWhileFrozen() {
			return
		}
		if _, err := to.Write(c.data); err != nil {
			_ = from.Close()
			return
		}
	}
}

// waitUntil waits for a time. It returns false when the proxy is closed first.
func (p *Proxy) waitUntil(due time.Time) bool {
	left := time.Until(due)
	if left <= 0 {
		return true
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-p.closed:
		return false
	}
}
