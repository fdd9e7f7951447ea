package simulate

import (
	"context"
	"fmt"
	"net"
)

// freePorts finds addresses on which nobody listens. Another process can take one before it is used: the chance is
// small, and the start that follows says so.
func freePorts(n int) (addresses []string, err error) {
	var config net.ListenConfig
	for range n {
		// All at once, or the system would give out the same one again.
		l, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer func() { _ = l.Close() }()
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}
