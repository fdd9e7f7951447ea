package service

import "time"

// Replica is one Global Controller over the storage, with the settings that other replicas have to respect.
type Replica struct {
	ID                    string
	Version               string
	StalenessThreshold    time.Duration
	FastInterval          time.Duration
	ComprehensiveInterval time.Duration
}

// ReplicaQuery selects all replicas.
type ReplicaQuery struct{}

// ReplicaList has the replicas over one store, in the order of their ids, and the state of the store.
type ReplicaList struct {
	Replicas []ReplicaStatus
	Store    StoreStatus
}

// ReplicaStatus is the record that a Global Controller keeps of itself in the store.
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

// StoreStatus is the state of the store, as seen by the replica that handles the call.
type StoreStatus struct {
	// Kind is postgres or sqlite.
	Kind string
	// MaxConnections is the number of connections that the database accepts from users without superuser rights; 0 for SQLite,
	// which has no such limit.
	MaxConnections int
	// Writable reports whether a heartbeat could be stored now.
	Writable bool
	// SchemaVersion is the number of the last migration.
	SchemaVersion int64
	// AsOf is the time by the store's clock.
	AsOf time.Time
}
