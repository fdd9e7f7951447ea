package fleetsim

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"darktower.example/global-controller/internal/freeport"
)

// startEchoServer starts a server that returns what it receives, and returns its address.
func startEchoServer(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })

	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}

			go func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			}()
		}
	}()
	return listener.Addr().String()
}

// startProxy starts a proxy before an echo server, and opens a connection to it.
func startProxy(t *testing.T) (*Proxy, net.Conn) {
	t.Helper()
	p, err := NewProxy(startEchoServer(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p, dial(t, p)
}

func dial(t *testing.T, p *Proxy) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", p.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// roundTrip sends a word and returns how long its echo took, or an error if there is none within the timeout.
func roundTrip(conn net.Conn, word string, timeout time.Duration) (time.Duration, error) {
	began := time.Now()
	if _, err := conn.Write([]byte(word)); err != nil {
		return 0, err
	}
	_ = conn.SetReadDeadline(time.Now().Add(timeout))
	_, err := io.ReadFull(conn, make([]byte, len(word)))
	return time.Since(began), err
}

func TestProxy_Forwards(t *testing.T) {
	t.Parallel()
	_, conn := startProxy(t)
	if _, err := roundTrip(conn, "hello", 5*time.Second); err != nil {
		t.Errorf("roundTrip() = %v", err)
	}
}

func TestProxy_FrozenKeepsConnectionsAndForwardsLater(t *testing.T) {
	t.Parallel()
	p, conn := startProxy(t)
	p.Freeze()
	p.Freeze()
	if _, err := roundTrip(conn, "hello", 100*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("roundTrip() while frozen = %v, want a timeout", err)
	}

	late := dial(t, p)
	if _, err := roundTrip(late, "late", 100*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("roundTrip() on a new connection while frozen = %v, want a timeout", err)
	}

	p.Resume()
	p.Resume()
	for _, c := range []net.Conn{conn, late} {
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
			t.Errorf("read after Resume() = %v, want what was sent before", err)
		}
	}
}

func TestProxy_CutClosesConnectionsUntilRestore(t *testing.T) {
	t.Parallel()
	p, conn := startProxy(t)
	if _, err := roundTrip(conn, "hello", 5*time.Second); err != nil {
		t.Fatalf("roundTrip() = %v", err)
	}

	p.Cut()
	if _, err := roundTrip(conn, "hello", 5*time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("roundTrip() on a cut connection = %v, want that it is closed", err)
	}
	if _, err := roundTrip(dial(t, p), "hello", 5*time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("roundTrip() on a new connection = %v, want that it is closed", err)
	}

	p.Restore()
	if _, err := roundTrip(dial(t, p), "hello", 5*time.Second); err != nil {
		t.Errorf("roundTrip() after restoring = %v", err)
	}
}

func TestProxy_LatencyKeepsThroughput(t *testing.T) {
	t.Parallel()
	p, conn := startProxy(t)
	p.SetLatency(50 * time.Millisecond)
	took, err := roundTrip(conn, "hello", 5*time.Second)
	if err != nil || took < 100*time.Millisecond {
		t.Errorf("roundTrip() took %v, %v, want 100 ms or more", took, err)
	}

	// Twenty words at once take about as long as one.
	began := time.Now()
	for range 20 {
		_, _ = conn.Write([]byte("hello"))
	}
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.ReadFull(conn, make([]byte, 100)); err != nil || time.Since(began) > time.Second {
		t.Errorf("20 words took %v, %v, want about 100 ms", time.Since(began), err)
	}

	p.SetLatency(0)
	if _, err := roundTrip(conn, "hello", 5*time.Second); err != nil {
		t.Errorf("roundTrip() = %v", err)
	}
}

func TestProxy_UnreachableTargetClosesConnection(t *testing.T) {
	t.Parallel()
	ports, err := freeport.Find(1)
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewProxy(ports[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	if _, err := roundTrip(dial(t, p), "hello", 5*time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("roundTrip() = %v, want that it is closed", err)
	}
}

func TestProxy_CloseWhileFrozen(t *testing.T) {
	t.Parallel()
	p, conn := startProxy(t)
	p.Freeze()
	_, _ = conn.Write([]byte("hello"))
	if err := p.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
}
