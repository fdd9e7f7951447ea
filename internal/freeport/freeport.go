// Package freeport finds free ports on this machine for servers whose port must be known before they start, and remain the
// same after a restart.
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
	// minPort is the lowest port that is returned. Well-known services listen below it.
	minPort = 10000
	// defaultEphemeral is the first ephemeral port of Linux by default. Other systems have higher ones: RFC 6335 has 49152.
	defaultEphemeral = 32768
	// attemptsPerPort is how many ports are tried for each requested one.
	attemptsPerPort = 200
)

// Find returns n different addresses of the loopback interface, "127.0.0.1:PORT", on which no server listens.
//
// The ports are below the ephemeral range, from which the system takes the local ports of connections. While a server is
// stopped, its clients open new connections all the time, and one of them could take the server's port. Another process
// can still take a port before it is used. The server's start reports that.
func Find(n int) (addresses []string, err error) {
	var config net.ListenConfig
	maxPort := firstEphemeral()
	for tries := 0; len(addresses) < n; tries++ {
		if tries == n*attemptsPerPort {
			return nil, fmt.Errorf("find %d free ports: of %d tried between %d and %d only %d are free: %w",
				n, tries, minPort, maxPort, len(addresses), err)
		}

		port := minPort + rand.IntN(maxPort-minPort) //nolint:gosec // Not a secret.
		var l net.Listener
		if l, err = config.Listen(context.Background(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err != nil {
			continue // Usually another process uses the port.
		}
		// The listeners are closed at the end. Otherwise the same port could be found twice.
		defer func() { _ = l.Close() }()
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}

// firstEphemeral returns the first port of the ephemeral range.
func firstEphemeral() int {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return defaultEphemeral // Not Linux.
	}

	fields := strings.Fields(string(text))
	if len(fields) == 0 {
		return defaultEphemeral
	}
	first, err := strconv.Atoi(fields[0])
	if err != nil || first < minPort+1000 {
		return defaultEphemeral // Too few ports are below it.
	}
	return first
}
