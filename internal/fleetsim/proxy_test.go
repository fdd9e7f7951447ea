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

// echo is a server that says what it is told.
func echo(t *testing.T) string {
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

func proxied(t *testing.T) (*Proxy, net.Conn) {
	t.Helper()
	p, err := NewProxy(echo(t))
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

// say sends a word and returns how long its echo took, or an error when there is none in time.
func say(conn net.Conn, word string, within time.Duration) (time.Duration, error) {
	began := time.Now()
	if _, err := conn.Write([]byte(word)); err != nil {
		return 0, err
	}
	_ = conn.SetReadDeadline(time.Now().Add(within))
	_, err := io.ReadFull(conn, make([]byte, len(word)))
	return time.Since(began), err
}

func TestAProxyForwards(t *testing.T) {
	t.Parallel()
	_, conn := proxied(t)
	if _, err := say(conn, "hello", 5*time.Second); err != nil {
		t.Errorf("say() = %v", err)
	}
}

func TestAFrozenProxyKeepsConnectionsAndForwardsLater(t *testing.T) {
	t.Parallel()
	p, conn := proxied(t)
	p.Freeze()
	p.Freeze()
	if _, err := say(conn, "hello", 100*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("say() while frozen = %v, want no answer", err)
	}
	late := dial(t, p)
	if _, err := say(late, "late", 100*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("say() on a new connection while frozen = %v, want no answer", err)
	}
	p.Thaw()
	p.Thaw()
	for _, c := range []net.Conn{conn, late} {
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
			t.Errorf("read after thawing = %v, want what was sent before", err)
		}
	}
}

func TestACutProxyClosesAndRefusesUntilItIsMended(t *testing.T) {
	t.Parallel()
	p, conn := proxied(t)
	if _, err := say(conn, "hello", 5*time.Second); err != nil {
		t.Fatalf("say() = %v", err)
	}
	p.Cut()
	if _, err := say(conn, "hello", 5*time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("say() on a cut connection = %v, want that it is closed", err)
	}
	if _, err := say(dial(t, p), "hello", 5*time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("say() on a new connection = %v, want that it is closed", err)
	}
	p.Mend()
	if _, err := say(dial(t, p), "hello", 5*time.Second); err != nil {
		t.Errorf("say() after mending = %v", err)
	}
}

func TestADelayIsLatencyAndCostsNoThroughput(t *testing.T) {
	t.Parallel()
	p, conn := proxied(t)
	p.Delay(50 * time.Millisecond)
	took, err := say(conn, "hello", 5*time.Second)
	if err != nil || took < 100*time.Millisecond {
		t.Errorf("say() took %v, %v, want 100 ms or more", took, err)
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
	p.Delay(0)
	if _, err := say(conn, "hello", 5*time.Second); err != nil {
		t.Errorf("say() = %v", err)
	}
}

func TestAProxyToNobodyCloses(t *testing.T) {
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
	if _, err := say(dial(t, p), "hello", 5*time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("say() = %v, want that it is closed", err)
	}
}

func TestAFrozenProxyCanBeClosed(t *testing.T) {
	t.Parallel()
	p, conn := proxied(t)
	p.Freeze()
	_, _ = conn.Write([]byte("hello"))
	if err := p.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
}
