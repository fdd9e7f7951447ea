package store

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"darktower.example/global-controller/internal/testpg"
	"darktower.example/global-controller/service"
)

func (s *Store) sendHeartbeat() error {
	_, err := s.Heartbeat(context.Background(), heartbeatOf("mc-1"))
	return err
}

// beatAndSweep beats and sweeps as the health checker does, within a timeout.
func (s *Store) beatAndSweep(timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if _, err := s.Beat(ctx, service.Beat{Replica: service.Replica{ID: "gc"}, Vouches: true, Tolerance: time.Second}); err != nil {
		return err
	}
	_, err := s.Sweep(ctx, service.SweepPolicy{Threshold: time.Minute, Interval: time.Second, Tolerance: time.Second})
	return err
}

// retryUntilSuccess repeats an operation until it succeeds, and returns the time that took.
func retryUntilSuccess(t *testing.T, what string, work func() error) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		err := work()
		if err == nil {
			return time.Since(began)
		}
		if time.Since(began) > maxWait {
			t.Fatalf("%s = %v for %v", what, err, maxWait)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestPostgresStandby_AddressLeadsToStandby redirects the database's address to a hot standby for a while, as if a virtual
// address or a name moved too early. Connections that were made meanwhile still lead to the standby afterwards.
func TestPostgresStandby_AddressLeadsToStandby(t *testing.T) {
	t.Parallel()
	primary := testpg.NewCluster(t)
	migrated := openMigrated(t, primary.URL())
	migrated.insertControllers(t, 1)
	standby := primary.NewStandby()
	relay := testpg.NewRelay(t, primary.Address())
	s := openUnmigrated(t, Config{URL: replaceHost(t, primary.URL(), relay.Address())})
	operations := map[string]func() error{
		"heartbeat": s.sendHeartbeat,
		"tick":      func() error { return s.beatAndSweep(5 * time.Second) },
		"ping":      func() error { return s.Ping(context.Background()) },
		"register":  func() error { _, err := s.Register(context.Background(), registration("mc-2"), ""); return err },
	}

	for name, work := range operations {
		retryUntilSuccess(t, name, work)
	}

	relay.Redirect(standby.Address())
	relay.CloseConnections()
	for began := time.Now(); time.Since(began) < 2*time.Second; time.Sleep(50 * time.Millisecond) {
		for name, work := range operations {
			if err := work(); !errors.Is(err, service.ErrUnavailable) {
				t.Fatalf("%s(standby) = %v, want ErrUnavailable", name, err)
			}
		}
	}

	if err := s.sendHeartbeat(); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("Heartbeat(standby) = %v, want an error that says read-only", err)
	}

	relay.Redirect(primary.Address())
	for name, work := range operations {
		took := retryUntilSuccess(t, name, work)
		t.Logf("%s: %v after the primary's return", name, took)
		if took > 2*time.Second {
			t.Errorf("%s succeeds %v after the primary's return, want 2s at most", name, took)
		}
	}
}

// TestPostgresReadOnly_ConnectionIsReplaced makes a primary with open connections read-only, and promotes a standby.
func TestPostgresReadOnly_ConnectionIsReplaced(t *testing.T) {
	t.Parallel()
	primary := testpg.NewCluster(t)
	admin := openMigrated(t, primary.URL())
	admin.insertControllers(t, 1)
	standby := primary.NewStandby()
	relay := testpg.NewRelay(t, primary.Address())
	s := openUnmigrated(t, Config{URL: replaceHost(t, primary.URL(), relay.Address())})
	retryUntilSuccess(t, "heartbeat", s.sendHeartbeat)
	retryUntilSuccess(t, "tick", func() error { return s.beatAndSweep(5 * time.Second) })
	admin.exec(t, `ALTER SYSTEM SET default_transaction_read_only = on`)
	admin.exec(t, `SELECT pg_reload_conf()`)
	retryUntilSuccess(t, "read-only", func() error {
		if err := s.sendHeartbeat(); !errors.Is(err, service.ErrUnavailable) {
			return errors.New("heartbeats are still stored")
		}
		return nil
	})

	// The old primary stays up; new connections lead to the new one.
	standby.Promote()
	relay.Redirect(standby.Address())
	took := retryUntilSuccess(t, "heartbeat", s.sendHeartbeat)

	for name, work := range map[string]func() error{
		"tick": func() error { return s.beatAndSweep(5 * time.Second) },
		"ping": func() error { return s.Ping(context.Background()) },
	} {
		if err := work(); err != nil {
			t.Errorf("%s(new primary) = %v", name, err)
		}
	}

	if took > 2*time.Second {
		t.Errorf("heartbeats are stored %v after the promotion, want 2s at most", took)
	}
}

// TestPostgresHosts_SkipsUnresponsiveServers connects to the last of several hosts, in either form of the address.
func TestPostgresHosts_SkipsUnresponsiveServers(t *testing.T) {
	t.Parallel()
	url := testpg.URL(t)
	openMigrated(t, url).insertControllers(t, 1)
	parsed, err := parsePostgresAddress(url)
	if err != nil {
		t.Fatal(err)
	}

	good := parsed.servers[0]
	at := net.JoinHostPort(good.host, good.port)
	// The first accepts connections and never responds, as a frozen server does; the second refuses them.
	frozen := startFrozenServer(t)
	frozenHost, frozenPort, err := net.SplitHostPort(frozen)
	if err != nil {
		t.Fatal(err)
	}

	base := func(hosts string) string { return strings.Replace(url, at, hosts, 1) }
	for name, address := range map[string]string{
		"in the authority": base(frozen + ",127.0.0.1:1," + at),
		"as parameters":    base("") + "&host=" + frozenHost + ",127.0.0.1," + good.host + "&port=" + frozenPort + ",1," + good.port,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openUnmigrated(t, Config{URL: address})
			if err := Migrate(t.Context(), address, nopLogger); err != nil {
				t.Errorf("Migrate() = %v", err)
			}

			for what, work := range map[string]func() error{
				"Heartbeat": s.sendHeartbeat,
				"Tick":      func() error { return s.beatAndSweep(2 * time.Second) },
				"Register":  func() error { _, err := s.Register(t.Context(), registration("mc-2"), ""); return err },
				"Ping":      func() error { return s.Ping(t.Context()) },
			} {
				began := time.Now()
				if err := work(); err != nil {
					t.Errorf("%s() = %v after %v, want nil within the timeout", what, err, time.Since(began))
				}
			}

			received := s.collectAnnouncements(t)
			other := openMigrated(t, url)
			if _, err := other.Register(t.Context(), registration("mc-3"), ""); err != nil {
				t.Fatal(err)
			}

			waitForAnnouncement(t, received, func(service.Announcement) bool { return true })
		})
	}
}

// startFrozenServer listens, accepts connections and never responds.
func startFrozenServer(t *testing.T) (address string) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	var (
		mu    sync.Mutex
		conns []net.Conn
		done  = make(chan struct{})
	)

	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
		}
	}()

	t.Cleanup(func() {
		_ = listener.Close()
		<-done
		for _, conn := range conns {
			_ = conn.Close()
		}
	})

	return listener.Addr().String()
}

// TestPostgresHosts_Failover freezes the primary of open connections, and promotes its standby.
func TestPostgresHosts_Failover(t *testing.T) {
	t.Parallel()
	primary := testpg.NewCluster(t)
	openMigrated(t, primary.URL()).insertControllers(t, 1)
	standby := primary.NewStandby()
	s := openUnmigrated(t, Config{URL: replaceHost(t, primary.URL(), primary.Address()+","+standby.Address())})
	operations := map[string]func() error{
		"heartbeat": s.sendHeartbeat,
		"tick":      func() error { return s.beatAndSweep(5 * time.Second) },
		"register":  func() error { _, err := s.Register(context.Background(), registration("mc-2"), ""); return err },
	}

	for name, work := range operations {
		retryUntilSuccess(t, name, work)
	}

	primary.Pause()
	standby.Promote()
	var group sync.WaitGroup

	for name, work := range operations {
		group.Go(func() {
			took := retryUntilSuccess(t, name, work)
			t.Logf("%s: %v after the failover", name, took)
			if took > 7*time.Second {
				t.Errorf("%s succeeds %v after the failover, want little more than one timeout", name, took)
			}
		})
	}
	group.Wait()

	primary.Resume()
}

func TestParsePostgresAddress_LikeLibpq(t *testing.T) {
	for address, want := range map[string][]postgresServer{
		"postgres://u:p%40@h1:5433,h2/db":                          {{"h1", "5433"}, {"h2", "5432"}},
		"postgresql://h1,h2:6000/db?port=7000":                     {{"h1", "7000"}, {"h2", "6000"}},
		"postgres://u:p@/db?host=h1,h2":                            {{"h1", "5432"}, {"h2", "5432"}},
		"postgres://u@/db?host=h1,h2&port=1,2":                     {{"h1", "1"}, {"h2", "2"}},
		"postgres://[::1]:5433,h2/db":                              {{"::1", "5433"}, {"h2", "5432"}},
		"postgres:///db?host=/var/run/postgresql":                  {{"/var/run/postgresql", "5432"}},
		"postgres:///db":                                           nil,
		"postgres://h/db?target_session_attrs=any&sslmode=require": {{"h", "5432"}},
	} {
		got, err := parsePostgresAddress(address)
		if err != nil {
			t.Errorf("parsePostgresAddress(%q) = %v", address, err)
			continue
		}

		if diff := cmp.Diff(want, got.servers, cmp.AllowUnexported(postgresServer{})); diff != "" {
			t.Errorf("parsePostgresAddress(%q) (-want +got):\n%s", address, diff)
		}
	}

	for address, want := range map[string]string{
		"postgres://u:secret@h1,h2,h3/db?port=1,2": "3 hosts and 2 ports",
		"postgres://u:secret@h1:x,h2/db":           "invalid database URL",
		"postgres://u:secret@h1,h2/db?sslmode=odd": "invalid database URL",
	} {
		s, err := Open(address)
		if err == nil {
			_ = s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("Open(%q) = %v, want an error with %q and without the password", address, err, want)
		}
	}
}

// TestPostgresIsolation_ReadCommitted orders two drains at the same time, each of which is safe by itself, over
// databases with another default isolation.
func TestPostgresIsolation_ReadCommitted(t *testing.T) {
	t.Parallel()
	for _, isolation := range []string{"repeatable read", "serializable"} {
		t.Run(isolation, func(t *testing.T) {
			t.Parallel()
			url := testpg.URL(t)
			setUp := openMigrated(t, url)
			setUp.exec(t, `DO $$ BEGIN EXECUTE format(
				'ALTER DATABASE %I SET default_transaction_isolation = ''`+isolation+`''', current_database()); END $$`)
			s := openUnmigrated(t, Config{URL: url})

			for _, pool := range s.pools() {
				var got string
				if err := pool.GetContext(t.Context(), &got, "SHOW transaction_isolation"); err != nil || got != "read committed" {
					t.Errorf("isolation = %q, %v, want read committed", got, err)
				}
			}

			setUp.exec(t, `INSERT INTO meeting_controllers (controller_id, region, endpoint, grpc_endpoint,
				max_meetings, max_participants, current_meetings, health_status, reported_status)
				SELECT 'mc-' || n, 'eu', 'http://mc', 'http://mc', 10, 100, 5, 'healthy', 'healthy' FROM generate_series(1, 3) AS n`)
			for round := range 10 {
				errs := make([]error, 2)
				var group sync.WaitGroup
				for i, id := range []string{"mc-1", "mc-2"} {
					group.Go(func() { _, errs[i] = s.Drain(context.Background(), service.DrainOrder{ControllerID: id}, "op") })
				}
				group.Wait()

				if errs[0] == nil && errs[1] == nil {
					t.Fatalf("round %d: both drains succeeded, want one refused", round)
				}

				for _, id := range []string{"mc-1", "mc-2"} {
					if _, err := s.Undrain(t.Context(), service.UndrainOrder{ControllerID: id}, "op"); err != nil {
						t.Fatal(err)
					}
				}
			}

			var group sync.WaitGroup
			for range 8 {
				group.Go(func() {
					for range 50 {
						if err := s.sendHeartbeat(); err != nil {
							t.Errorf("Heartbeat() = %v", err)
						}
					}
				})
			}
			group.Wait()
		})
	}
}
