// Package freeport finds ports on this machine for servers that are told a port beforehand, and that come back at the
// same one after a stop.
package freeport

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
)

const (
	// lowest is the lowest port that is given out: below it well-known services listen.
	lowest = 10000
	// ephemeral is where the ports begin that Linux gives out by itself, unless it is told otherwise. Elsewhere they begin
	// later: RFC 6335 has 49152.
	ephemeral = 32768
	// attempts is how many ports are tried for each that is wanted.
	attempts = 200
)

// Find returns n different addresses of the loopback interface, "127.0.0.1:PORT", on which nobody listens.
//
// The ports are outside of the range that the system gives out by itself: a server that has stopped would now and then
// find a connection of some client on its port, for it is the clients that wait for it who open new ones all the time.
// Another process can still take a port before it is used; the start that follows says so then.
func Find(n int) (addresses []string, err error) {
	var config net.ListenConfig
	end := firstEphemeral()
	for tries := 0; len(addresses) < n; tries++ {
		if tries == n*attempts {
			return nil, fmt.Errorf("find %d free ports: of %d tried between %d and %d only %d are free: %w", n, tries, lowest, end, len(addresses), err)
		}
		port := lowest + rand.IntN(end-lowest) //nolint:gosec // Not a secret.
		var l net.Listener
		if l, err = config.Listen(context.Background(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err != nil {
			continue // Most likely it is taken.
		}
		// Not before all are found, or one could be found twice.
		defer func() { _ = l.Close() }()
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}

// firstEphemeral is the first port that this system gives out by itself.
func firstEphemeral() int {
	told, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return ephemeral // Not Linux.
	}
	fields := strings.Fields(string(told))
	if len(fields) == 0 {
		return ephemeral
	}
	first, err := strconv.Atoi(fields[0])
	if err != nil || first < lowest+1000 {
		return ephemeral // There is no room below it.
	}
	return first
}
