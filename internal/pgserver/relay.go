package pgserver

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
)

// Relay is a TCP address that leads to a server, and may lead to another later, as a virtual IP address does.
type Relay struct {
	listener net.Listener
	group    sync.WaitGroup

	mu    sync.Mutex
	to    string
	conns map[net.Conn]bool
}

// NewRelay returns a relay to an address.
func NewRelay(to string) (*Relay, error) {
	var listening net.ListenConfig
	listener, err := listening.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	r := &Relay{listener: listener, to: to, conns: make(map[net.Conn]bool)}
	r.group.Go(r.accept)
	return r, nil
}

// Address is the relay's host and port.
func (r *Relay) Address() string { return r.listener.Addr().String() }

// Lead has new connections lead to an address. Those that there are stay where they are.
func (r *Relay) Lead(to string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to = to
}

// Cut ends every connection.
func (r *Relay) Cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for conn := range r.conns {
		_ = conn.Close()
	}
}

// Close ends every connection and the relay.
func (r *Relay) Close() error {
	err := r.listener.Close()
	r.Cut()
	r.group.Wait()
	return err
}

func (r *Relay) accept() {
	for {
		in, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.group.Go(func() { r.serve(in) })
	}
}

func (r *Relay) serve(in net.Conn) {
	defer r.drop(in)
	r.mu.Lock()
	to := r.to
	r.conns[in] = true
	r.mu.Unlock()
	var dialer net.Dialer
	out, err := dialer.DialContext(context.Background(), "tcp", to)
	if err != nil {
		return
	}
	defer r.drop(out)
	r.mu.Lock()
	r.conns[out] = true
	r.mu.Unlock()

	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(in, out)
		_ = in.Close()
	})
	_, _ = io.Copy(out, in)
	_ = out.Close()
	back.Wait()
}

func (r *Relay) drop(conn net.Conn) {
	_ = conn.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, conn)
}
