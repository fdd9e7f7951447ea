package freeport

import (
	"net"
	"testing"
)

func TestFind_PortsAreFreeDistinctAndNotEphemeral(t *testing.T) {
	t.Parallel()
	addresses, err := Find(50)
	if err != nil {
		t.Fatal(err)
	}

	isListening := make(map[int]bool)
	for _, address := range addresses {
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
		if err != nil {
			t.Fatalf("listen on a port that was found: %v", err)
		}
		t.Cleanup(func() { _ = listener.Close() })
		isListening[listener.Addr().(*net.TCPAddr).Port] = true
	}
	if len(isListening) != 50 {
		t.Errorf("%d different addresses were found, want 50", len(isListening))
	}
	for port := range isListening {
		if port < minPort || port >= firstEphemeral() {
			t.Errorf("port %d is outside of [%d, %d)", port, minPort, firstEphemeral())
		}
	}
}
