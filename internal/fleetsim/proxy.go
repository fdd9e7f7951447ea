package fleetsim

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// proxyChunk is how much a proxy reads at once.
const proxyChunk = 32 << 10

// Proxy forwards TCP connections to one address, and can be told to be a bad network: slow, frozen or cut.
type Proxy struct {
	target   string
	listener net.Listener
	all      sync.WaitGroup
	once     sync.Once // closes

	mu      sync.Mutex
	open    map[net.Conn]struct{}
	cut     bool
	latency time.Duration
	thawed  chan struct{} // closed while the proxy forwards
	closed  chan struct{}
}

// NewProxy listens on a free port of the loopback address.
func NewProxy(target string) (*Proxy, error) {
	var config net.ListenConfig
	listener, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the proxy to %s: %w", target, err)
	}
	p := &Proxy{target: target, listener: listener, open: make(map[net.Conn]struct{}), thawed: make(chan struct{}), closed: make(chan struct{})}
	close(p.thawed)
	p.all.Go(p.accept)
	return p, nil
}

// Address is where the proxy listens.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Freeze stops forwarding, both ways; connections stay open and new ones are taken, as when a network swallows packets.
func (p *Proxy) Freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.thawed:
		p.thawed = make(chan struct{})
	default: // It is frozen already.
	}
}

// Thaw ends a Freeze. What was sent meanwhile arrives now.
func (p *Proxy) Thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.thawed:
	default:
		close(p.thawed)
	}
}

// Cut closes every connection, and new ones as soon as they are made.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	for conn := range p.open {
		_ = conn.Close()
	}
}

// Mend ends a Cut.
func (p *Proxy) Mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = false
}

// Delay has all data arrive so much later, each way; the throughput stays.
func (p *Proxy) Delay(latency time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.latency = latency
}

// Close ends the proxy and its connections.
func (p *Proxy) Close() error {
	p.Cut()
	var err error
	p.once.Do(func() {
		close(p.closed)
		err = p.listener.Close()
	})
	p.all.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return // The listener is closed.
		}
		p.all.Go(func() { p.serve(near) })
	}
}

func (p *Proxy) serve(near net.Conn) {
	defer func() { _ = near.Close() }()
	if !p.add(near) {
		return
	}
	defer p.remove(near)
	if !p.wait() {
		return
	}
	dialer := net.Dialer{Timeout: 5 * time.Second}
	far, err := dialer.DialContext(context.Background(), "tcp", p.target)
	if err != nil {
		return
	}
	defer func() { _ = far.Close() }()
	if !p.add(far) {
		return
	}
	defer p.remove(far)
	var ways sync.WaitGroup
	ways.Go(func() { p.forward(near, far) })
	ways.Go(func() { p.forward(far, near) })
	ways.Wait()
}

// add tells whether a connection may live.
func (p *Proxy) add(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.cut {
		p.open[conn] = struct{}{}
	}
	return !p.cut
}

func (p *Proxy) remove(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, conn)
}

// wait returns when the proxy is not frozen, or false when it is closed.
func (p *Proxy) wait() bool {
	p.mu.Lock()
	thawed := p.thawed
	p.mu.Unlock()
	select {
	case <-thawed:
		return true
	case <-p.closed:
		return false
	}
}

// chunk is data and when it may arrive.
type chunk struct {
	data []byte
	due  time.Time
}

// forward copies one way. What was read waits for its time in a queue, so that latency costs no throughput.
func (p *Proxy) forward(from, to net.Conn) {
	queue := make(chan chunk, 256)
	p.all.Go(func() {
		defer func() { _ = to.Close() }()
		defer func() {
			// The reader must not be held up by a peer that is gone.
			for range queue {
			}
		}()
		for c := range queue {
			if !p.until(c.due) || !p.wait() {
				return
			}
			if _, err := to.Write(c.data); err != nil {
				_ = from.Close()
				return
			}
		}
	})
	defer close(queue)
	buffer := make([]byte, proxyChunk)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			p.mu.Lock()
			latency := p.latency
			p.mu.Unlock()
			queue <- chunk{append([]byte(nil), buffer[:n]...), time.Now().Add(latency)}
		}
		if err != nil {
			return
		}
	}
}

// until waits for a time, or returns false when the proxy is closed first.
func (p *Proxy) until(due time.Time) bool {
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
