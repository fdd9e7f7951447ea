package store

import (
	"context"
	"slices"
	"strconv"
	"time"
)

func postgresDialect() dialect {
	return dialect{
		name:       "postgres",
		isPostgres: true,

		// Not now(), which is the start of the transaction: waiting for a lock must not make a heartbeat older.
		nowSQL:                 "clock_timestamp()",
		statementNowSQL:        "statement_timestamp()",
		lockRowSQL:             " FOR UPDATE",
		selectSkipLockedSQL:    " FOR UPDATE SKIP LOCKED",
		heartbeatSkipLockedSQL: " SKIP LOCKED",
		pruneLockSQL:           "SELECT pg_try_advisory_xact_lock(hashtextextended('retain', 0))",
		lockRegionSQL:          "SELECT pg_advisory_xact_lock(hashtextextended('drain ' || ?, 0))",
		openWritersSQL:         openWritersSQL,
		bind:                   func(t time.Time) any { return t },
		translateError:         translatePostgresError,
		isRetryable:            isRetryablePostgres,
	}
}

func (s *Store) openPostgres(cfg Config) error {
	settings := postgresSettings(cfg.Timeout)
	s.maxConnections = cfg.MaxConns
	s.connectionLimit.Store(int64(min(cfg.MaxConns, guaranteedConnections)))
	division := divideConnections(s.ConnectionLimit())
	if cfg.Unbatched {
		// Each heartbeat then needs a connection, so the larger share is for heartbeats.
		division.general, division.heartbeats = division.heartbeats, max(division.general, division.heartbeats)
	}

	cluster, err := newCluster(cfg.URL, cfg.Timeout)
	if err != nil {
		return err
	}
	general, err := cluster.newPool(settings, division.general)
	if err != nil {
		return err
	}
	if s.checkerDB, err = cluster.newPool(settings, division.checker); err != nil {
		return err
	}
	if s.watchDB, err = cluster.newPool(settings, division.watch); err != nil {
		return err
	}
	if s.heartbeat.db, err = cluster.newPool(slices.Concat(settings, heartbeatSettings), division.heartbeats); err != nil {
		return err
	}

	s.dialect = postgresDialect()
	s.cluster = cluster
	s.readDB, s.writeDB = general, general
	s.heartbeat.waitLocked.text = heartbeatSQL("")
	s.heartbeat.skipLocked.text = heartbeatSQL(s.dialect.heartbeatSkipLockedSQL)
	s.registerStatement.text = registerSQL
	s.reserveStatement.text = reserveSQL
	s.confirmStatement.text = confirmSQL
	s.announcer.send = s.notify
	s.listenRemote = func(ctx context.Context) { s.listenPostgres(ctx, cluster) }

	return nil
}

// postgresSettings are the parameters of every session.
func postgresSettings(timeout time.Duration) []setting {
	milliseconds := func(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
	return []setting{
		{"statement_timeout", milliseconds(timeout)},
		// Shorter than the statement timeout, so that the error distinguishes a locked table from a slow statement.
		{"lock_timeout", milliseconds(timeout * 4 / 5)},
		{"idle_in_transaction_session_timeout", milliseconds(timeout * 2)},
		{isolationSetting, "read committed"},
	}
}
