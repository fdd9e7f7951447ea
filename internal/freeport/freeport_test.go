package freeport

import (
	"net"
	"testing"
)

func TestPortsAreFreeDifferentAndNotTheSystemsOwn(t *testing.T) {
	t.Parallel()
	addresses, err := Find(50)
	if err != nil {
		t.Fatal(err)
	}
	listening := make(map[int]bool)
	for _, address := range addresses {
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
		if err != nil {
			t.Fatalf("listen at one that was found: %v", err)
		}
		t.Cleanup(func() { _ = listener.Close() })
		listening[listener.Addr().(*net.TCPAddr).Port] = true
	}
	if len(listening) != 50 {
		t.Errorf("%d different addresses were found, want 50", len(listening))
	}
	for port := range listening {
		if port < lowest || port >= firstEphemeral() {
			t.Errorf("port %d is outside of [%d, %d)", port, lowest, firstEphemeral())
		}
	}
}
