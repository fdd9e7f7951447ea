package pgserver

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
)

// Relay is a TCP address that forwards connections to a server. Like a virtual IP address, it can be redirected to another server.
type Relay struct {
	listener net.Listener
	running  sync.WaitGroup

	mu     sync.Mutex
	target string
	conns  map[net.Conn]bool
}

// NewRelay returns a relay to a target address.
func NewRelay(target string) (*Relay, error) {
	var config net.ListenConfig
	listener, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}

	r := &Relay{listener: listener, target: target, conns: make(map[net.Conn]bool)}
	r.running.Go(r.acceptConnections)
	return r, nil
}

// Address is the relay's host and port.
func (r *Relay) Address() string { return r.listener.Addr().String() }

// Redirect forwards new connections to another target address. Existing connections stay as they are.
func (r *Relay) Redirect(target string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.target = target
}

// CloseConnections closes every connection.
func (r *Relay) CloseConnections() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for conn := range r.conns {
		_ = conn.Close()
	}
}

// Close closes the relay and every connection.
func (r *Relay) Close() error {
	err := r.listener.Close()
	r.CloseConnections()
	r.running.Wait()
	return err
}

func (r *Relay) acceptConnections() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.running.Go(func() { r.forward(client) })
	}
}

// forward copies the data of one connection in both directions until one side closes it.
func (r *Relay) forward(client net.Conn) {
	defer r.remove(client)
	target := r.add(client)

	var dialer net.Dialer
	server, err := dialer.DialContext(context.Background(), "tcp", target)
	if err != nil {
		return
	}
	defer r.remove(server)
	r.add(server)

	var fromServer sync.WaitGroup
	fromServer.Go(func() {
		_, _ = io.Copy(client, server)
		_ = client.Close()
	})
	_, _ = io.Copy(server, client)
	_ = server.Close()
	fromServer.Wait()
}

// add records a connection, and returns the present target.
func (r *Relay) add(conn net.Conn) (target string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns[conn] = true
	return r.target
}

func (r *Relay) remove(conn net.Conn) {
	_ = conn.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, conn)
}
