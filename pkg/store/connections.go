package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/lib/pq"
)

const (
	// MinConnections is the least that [Config.MaxConns] may be.
	MinConnections = 8
	// MaxConnections is the most that [Config.MaxConns] may be.
	MaxConnections = 1000
	// DefaultConnections is the default of [Config.MaxConns].
	DefaultConnections = 20
	// sharedConnections is what each replica may open however many there are. Ten of them fit into a PostgreSQL as it
	// comes, which takes 100 connections and keeps 3 of them for its superuser.
	sharedConnections = 9
	// maxApart bounds how many heartbeats wait for locked rows, each with a connection beside that of the batches.
	maxApart = 2
	// ampleConnections is from which limit on watches have a second connection.
	ampleConnections = 16
)

// connections is how the connections to PostgreSQL are divided. Heartbeats, the health checker and watches have reserved
// connections, so that none of them waits behind a burst of other calls.
type connections struct {
	// heartbeats are one that commits batches, and those that wait for locked rows.
	heartbeats int
	// checker beats and sweeps.
	checker int
	// watch reads what changed, and announces it. One more, which is of no pool, listens.
	watch   int
	general int
}

func divideConnections(limit int) connections {
	c := connections{heartbeats: 1 + maxApart, checker: 2, watch: 1}
	if limit >= ampleConnections {
		c.watch++
	}
	c.general = max(1, limit-c.heartbeats-c.checker-c.watch-1)
	return c
}

// shareConnections is how many of the connections that a server allows are for each of its replicas, up to most of
// them. It leaves room for one replica more, which begins with the least.
func shareConnections(most, allowed, replicas int) int {
	share := (allowed - sharedConnections) / max(1, replicas)
	return min(most, max(share, sharedConnections))
}

// ConnectionLimit is how many connections the store opens at most now.
func (s *Store) ConnectionLimit() int { return int(s.limit.Load()) }

// limitConnections divides a limit among the pools whose size depends on it.
func (s *Store) limitConnections(limit int) {
	if s.servers == nil || int(s.limit.Swap(int64(limit))) == limit {
		return
	}
	division := divideConnections(limit)
	general := s.write
	if s.unbatched {
		general, division.general = s.heartbeat.db, max(division.general, division.heartbeats)
	}
	general.SetMaxOpenConns(division.general)
	general.SetMaxIdleConns(division.general)
	s.watch.SetMaxOpenConns(division.watch)
	s.watch.SetMaxIdleConns(division.watch)
}

// ShareConnections adapts how many connections are opened at most to how many replicas use the server, each of which does
// the same, so that together they leave some free. Behind a pooler the limit is the one that was set. The result is
// recorded for the replica of that id. Over SQLite it does nothing.
func (s *Store) ShareConnections(ctx context.Context, replicaID string) error {
	if s.servers == nil {
		return nil
	}

	_, err := run(ctx, s, "share", func(ctx context.Context) (none struct{}, _ error) {
		var found struct {
			Allowed  int           `db:"allowed"`
			Replicas int           `db:"replicas"`
			Limit    sql.NullInt64 `db:"connection_limit"`
			Pooler   sql.NullBool  `db:"pooler"`
		}
		err := s.read.GetContext(ctx, &found, `SELECT `+allowedConnectionsSQL+` AS allowed, own.connection_limit, own.pooler,
			(SELECT count(*) FROM replicas WHERE seen_at > clock_timestamp() - interval '15 seconds' AND `+isRunning+`) AS replicas
			FROM (VALUES ($1::varchar)) AS asked (id) LEFT JOIN replicas AS own ON own.replica_id = asked.id`, replicaID)
		var server *pq.Error
		switch {
		case errors.As(err, &server) && server.Code == "53300":
			s.limitConnections(min(s.most, sharedConnections))
			return none, err
		case err != nil:
			return none, err
		}
		pooler, limit := s.servers.pooler.Load(), s.most
		if !pooler {
			limit = shareConnections(s.most, found.Allowed, found.Replicas)
		}
		s.limitConnections(limit)
		if found.Limit.Int64 == int64(limit) && found.Pooler.Bool == pooler {
			return none, nil
		}
		_, err = s.write.ExecContext(ctx, `UPDATE replicas SET connection_limit = $2, pooler = $3 WHERE replica_id = $1`,
			replicaID, limit, pooler)
		return none, err
	})

	return err
}
