package store

import (
	"context"
	"time"

	"darktower.example/global-controller/service"
)

// replicaSeenWithin is how long after its last beat Replicas lists a replica.
const replicaSeenWithin = time.Minute

// allowedConnectionsSQL is how many connections a PostgreSQL server accepts from users that are not superusers.
const allowedConnectionsSQL = `current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
	- coalesce(current_setting('reserved_connections', true)::int, 0)`

// replicaRow is a stored replica.
type replicaRow struct {
	ID              string `db:"replica_id"`
	Version         string `db:"version"`
	ThresholdMS     int64  `db:"staleness_threshold_ms"`
	FastMS          int64  `db:"fast_interval_ms"`
	ComprehensiveMS int64  `db:"comprehensive_interval_ms"`
	ConnectionLimit int    `db:"connection_limit"`
	Pooler          bool   `db:"pooler"`
	StartedAt       dbTime `db:"started_at"`
	SeenAt          dbTime `db:"seen_at"`
}

func milliseconds(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }

func (r replicaRow) status() service.ReplicaStatus {
	return service.ReplicaStatus{
		ID:                    r.ID,
		Version:               r.Version,
		StalenessThreshold:    milliseconds(r.ThresholdMS),
		FastInterval:          milliseconds(r.FastMS),
		ComprehensiveInterval: milliseconds(r.ComprehensiveMS),
		ConnectionLimit:       r.ConnectionLimit,
		Pooler:                r.Pooler,
		StartedAt:             r.StartedAt.Time,
		SeenAt:                r.SeenAt.Time,
	}
}

// Replicas implements [service.Store].
func (s *Store) Replicas(ctx context.Context) (service.ReplicaList, error) {
	list, err := run(ctx, s, "replicas", func(ctx context.Context) (list service.ReplicaList, err error) {
		if list.Store, err = s.readStoreStatus(ctx); err != nil {
			return list, err
		}

		var found []replicaRow
		if err := s.readDB.SelectContext(ctx, &found, s.readDB.Rebind(`SELECT replica_id, version, staleness_threshold_ms, fast_interval_ms,
			comprehensive_interval_ms, connection_limit, pooler, started_at, seen_at
			FROM replicas WHERE seen_at > ? AND `+isReplicaSQL+` ORDER BY replica_id`),
			s.dialect.bind(list.Store.AsOf.Add(-replicaSeenWithin))); err != nil {
			return list, err
		}
		for _, r := range found {
			list.Replicas = append(list.Replicas, r.status())
		}
		return list, nil
	})

	if err == nil {
		list.Store.Writable = s.Ping(ctx) == nil
	}
	return list, err
}

// readStoreStatus reads the status of the store, except whether it is writable.
func (s *Store) readStoreStatus(ctx context.Context) (service.StoreStatus, error) {
	allowedSQL := "0"
	if s.dialect.isPostgres {
		allowedSQL = allowedConnectionsSQL
	}

	var found struct {
		AsOf    dbTime `db:"as_of"`
		Allowed int    `db:"allowed"`
		Version int64  `db:"version"`
	}
	if err := s.readDB.GetContext(ctx, &found, `SELECT `+s.dialect.nowSQL+` AS as_of, `+allowedSQL+` AS allowed,
		coalesce((SELECT max(version_id) FROM goose_db_version WHERE is_applied), 0) AS version`); err != nil {
		return service.StoreStatus{}, err
	}

	return service.StoreStatus{
		Kind:           s.dialect.name,
		MaxConnections: found.Allowed,
		SchemaVersion:  found.Version,
		AsOf:           found.AsOf.Time,
	}, nil
}
