package service

import (
	"context"
	"fmt"
	"time"
)

// ReplicaQuery asks for all replicas.
type ReplicaQuery struct{}

// ReplicaList is the replicas over one store, in the order of their ids, and the store.
type ReplicaList struct {
	Replicas []ReplicaStatus
	Store    StoreStatus
}

// ReplicaStatus is what a Global Controller records about itself in the store.
type ReplicaStatus struct {
	ID                    string
	Version               string
	StalenessThreshold    time.Duration
	FastInterval          time.Duration
	ComprehensiveInterval time.Duration
	// ConnectionLimit is the limit of its connections to the database; 0 if unknown.
	ConnectionLimit int
	// Pooler is true when a connection pooler is between the replica and the database.
	Pooler    bool
	StartedAt time.Time
	SeenAt    time.Time
}

// StoreStatus is the store as the replica that answers finds it.
type StoreStatus struct {
	// Kind is postgres or sqlite.
	Kind string
	// MaxConnections is how many connections the database takes from users that are no superusers; 0 for SQLite, which
	// counts none.
	MaxConnections int
	// Writable is true when a heartbeat could be stored now.
	Writable bool
	// SchemaVersion is the number of the last migration.
	SchemaVersion int64
	// AsOf is the time by the store's clock.
	AsOf time.Time
}

func (c *controllers) ListReplicas(ctx context.Context, _ ReplicaQuery) (ReplicaList, error) {
	list, err := c.store.ListReplicas(ctx)
	if err != nil {
		return ReplicaList{}, fmt.Errorf("list replicas: %w", err)
	}
	return list, nil
}
