package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/lib/pq"
)

const (
	// MinConnections is the minimum of [Config.MaxConns].
	MinConnections = 8
	// MaxConnections is the maximum of [Config.MaxConns].
	MaxConnections = 1000
	// DefaultConnections is the default of [Config.MaxConns].
	DefaultConnections = 20

	// guaranteedConnections is how many connections each replica may open, however many replicas there are. Ten replicas fit
	// into a PostgreSQL with default settings, which accepts 100 connections and reserves 3 of them for superusers.
	guaranteedConnections = 9
	// maxLockedRowWriters limits the heartbeats that wait for locked rows. Each has a connection besides that of the
	// batches.
	maxLockedRowWriters = 2
	// minForSecondWatch is the minimum limit at which watches have a second connection.
	minForSecondWatch = 16
)

// connectionDivision is how the connections to PostgreSQL are divided. Heartbeats, the health checker and watches have
// reserved connections, so that none of them waits behind a burst of other calls.
type connectionDivision struct {
	// heartbeats: one commits batches, the others wait for locked rows.
	heartbeats int
	// checker beats and sweeps.
	checker int
	// watch reads changes and announces them. One more connection, outside of the pools, listens.
	watch   int
	general int
}

func divideConnections(limit int) connectionDivision {
	d := connectionDivision{heartbeats: 1 + maxLockedRowWriters, checker: 2, watch: 1}
	if limit >= minForSecondWatch {
		d.watch++
	}
	d.general = max(1, limit-d.heartbeats-d.checker-d.watch-1)
	return d
}

// shareConnections returns how many of the connections that a server allows are for each of its replicas, at most
// maximum. It leaves room for one more replica, which starts with guaranteedConnections.
func shareConnections(maximum, allowed, replicas int) int {
	share := (allowed - guaranteedConnections) / max(1, replicas)
	return min(maximum, max(share, guaranteedConnections))
}

// ConnectionLimit returns the current limit of open connections.
func (s *Store) ConnectionLimit() int { return int(s.connectionLimit.Load()) }

// limitConnections divides a limit among the pools whose size depends on it.
func (s *Store) limitConnections(limit int) {
	if s.serverGroup == nil || int(s.connectionLimit.Swap(int64(limit))) == limit {
		return
	}

	division := divideConnections(limit)
	general := s.writeDB
	if s.isUnbatched {
		general, division.general = s.heartbeat.db, max(division.general, division.heartbeats)
	}
	general.SetMaxOpenConns(division.general)
	general.SetMaxIdleConns(division.general)
	s.watchDB.SetMaxOpenConns(division.watch)
	s.watchDB.SetMaxIdleConns(division.watch)
}

// ShareConnections adapts the limit of connections to the number of replicas that use the server. Each replica does the
// same, so that together they leave some connections free. Behind a pooler the limit is the configured one. The limit is
// recorded for the replica with the id. Over SQLite ShareConnections does nothing.
func (s *Store) ShareConnections(ctx context.Context, replicaID string) error {
	if s.serverGroup == nil {
		return nil
	}

	_, err := run(ctx, s, "share", func(ctx context.Context) (struct{}, error) {
		found, err := s.readConnectionUse(ctx, replicaID)
		var server *pq.Error
		if errors.As(err, &server) && server.Code == "53300" {
			// The server has no connection left, so each replica keeps only the connections that are guaranteed.
			s.limitConnections(min(s.maxConnections, guaranteedConnections))
		}
		if err != nil {
			return struct{}{}, err
		}

		limit := s.maxConnections
		hasPooler := s.serverGroup.hasPooler.Load()
		if !hasPooler {
			limit = shareConnections(s.maxConnections, found.Allowed, found.Replicas)
		}
		s.limitConnections(limit)

		if found.Limit.Int64 == int64(limit) && found.Pooler.Bool == hasPooler {
			return struct{}{}, nil
		}
		_, err = s.writeDB.ExecContext(ctx, `UPDATE replicas SET connection_limit = $2, pooler = $3 WHERE replica_id = $1`,
			replicaID, limit, hasPooler)
		return struct{}{}, err
	})
	return err
}

// connectionUse is what a server allows, how many replicas use it, and what is recorded for one of them.
type connectionUse struct {
	Allowed  int           `db:"allowed"`
	Replicas int           `db:"replicas"`
	Limit    sql.NullInt64 `db:"connection_limit"`
	Pooler   sql.NullBool  `db:"pooler"`
}

func (s *Store) readConnectionUse(ctx context.Context, replicaID string) (found connectionUse, _ error) {
	err := s.readDB.GetContext(ctx, &found, `SELECT `+allowedConnectionsSQL+` AS allowed, own.connection_limit, own.pooler,
		(SELECT count(*) FROM replicas WHERE seen_at > clock_timestamp() - interval '15 seconds' AND `+isReplicaSQL+`) AS replicas
		FROM (VALUES ($1::varchar)) AS requested (id) LEFT JOIN replicas AS own ON own.replica_id = requested.id`, replicaID)
	return found, err
}
