package store

import (
	"context"
	"time"

	"darktower.example/global-controller/service"
)

// replicaSeenWithin is how long after its last beat a replica is listed.
const replicaSeenWithin = time.Minute

// allowedConnectionsSQL is how many connections a PostgreSQL takes from users that are no superusers.
const allowedConnectionsSQL = `current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
	- coalesce(current_setting('reserved_connections', true)::int, 0)`

// ListReplicas implements [service.Store].
func (s *Store) ListReplicas(ctx context.Context) (service.ReplicaList, error) {
	allowed := "0"
	if s.servers != nil {
		allowed = allowedConnectionsSQL
	}

	list, err := run(ctx, s, "replicas", func(ctx context.Context) (list service.ReplicaList, err error) {
		var store struct {
			AsOf    dbTime `db:"as_of"`
			Allowed int    `db:"allowed"`
			Version int64  `db:"version"`
		}
		if err := s.read.GetContext(ctx, &store, `SELECT `+s.dialect.now+` AS as_of, `+allowed+` AS allowed,
			coalesce((SELECT max(version_id) FROM goose_db_version WHERE is_applied), 0) AS version`); err != nil {
			return list, err
		}
		var found []struct {
			ID                      string `db:"replica_id"`
			Version                 string `db:"version"`
			StalenessThresholdMs    int64  `db:"staleness_threshold_ms"`
			FastIntervalMs          int64  `db:"fast_interval_ms"`
			ComprehensiveIntervalMs int64  `db:"comprehensive_interval_ms"`
			ConnectionLimit         int    `db:"connection_limit"`
			Pooler                  bool   `db:"pooler"`
			StartedAt               dbTime `db:"started_at"`
			SeenAt                  dbTime `db:"seen_at"`
		}
		if err := s.read.SelectContext(ctx, &found, s.read.Rebind(`SELECT replica_id, version, staleness_threshold_ms, fast_interval_ms,
			comprehensive_interval_ms, connection_limit, pooler, started_at, seen_at
			FROM replicas WHERE seen_at > ? AND `+isRunning+` ORDER BY replica_id`), s.dialect.bind(store.AsOf.Add(-replicaSeenWithin))); err != nil {
			return list, err
		}
		list.Store = service.StoreStatus{Kind: s.dialect.name, MaxConnections: store.Allowed, SchemaVersion: store.Version, AsOf: store.AsOf.Time}
		milliseconds := func(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }
		for _, r := range found {
			list.Replicas = append(list.Replicas, service.ReplicaStatus{
				ID:                    r.ID,
				Version:               r.Version,
				StalenessThreshold:    milliseconds(r.StalenessThresholdMs),
				FastInterval:          milliseconds(r.FastIntervalMs),
				ComprehensiveInterval: milliseconds(r.ComprehensiveIntervalMs),
				ConnectionLimit:       r.ConnectionLimit,
				Pooler:                r.Pooler,
				StartedAt:             r.StartedAt.Time,
				SeenAt:                r.SeenAt.Time,
			})
		}
		return list, nil
	})

	if err == nil {
		list.Store.Writable = s.Ping(ctx) == nil
	}

	return list, err
}
