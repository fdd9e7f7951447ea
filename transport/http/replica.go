package httptransport

import (
	"net/http"
	"time"

	"darktower.example/global-controller/service"
)

type replicaBody struct {
	ReplicaID                        string    `json:"replica_id"`
	Version                          string    `json:"version"`
	StartedAt                        time.Time `json:"started_at"`
	SeenAt                           time.Time `json:"seen_at"`
	StalenessThresholdMs             int64     `json:"staleness_threshold_ms"`
	FastHeartbeatIntervalMs          int64     `json:"fast_heartbeat_interval_ms"`
	ComprehensiveHeartbeatIntervalMs int64     `json:"comprehensive_heartbeat_interval_ms"`
	ConnectionLimit                  int       `json:"connection_limit"`
	Pooler                           bool      `json:"pooler"`
}

type storeBody struct {
	Kind           string    `json:"kind"`
	MaxConnections int       `json:"max_connections"`
	Writable       bool      `json:"writable"`
	SchemaVersion  int64     `json:"schema_version"`
	AsOf           time.Time `json:"as_of"`
}

type replicasBody struct {
	Replicas []replicaBody `json:"replicas"`
	Store    storeBody     `json:"store"`
}

func decodeReplicaQuery(r *http.Request) (service.ReplicaQuery, error) {
	_, err := fromQuery(r)
	return service.ReplicaQuery{}, err
}

func encodeReplicas(l service.ReplicaList) any {
	body := replicasBody{
		Replicas: make([]replicaBody, 0, len(l.Replicas)),
		Store: storeBody{
			Kind:           l.Store.Kind,
			MaxConnections: l.Store.MaxConnections,
			Writable:       l.Store.Writable,
			SchemaVersion:  l.Store.SchemaVersion,
			AsOf:           l.Store.AsOf.UTC(),
		},
	}

	for _, r := range l.Replicas {
		body.Replicas = append(body.Replicas, replicaBody{
			ReplicaID:                        r.ID,
			Version:                          r.Version,
			StartedAt:                        r.StartedAt.UTC(),
			SeenAt:                           r.SeenAt.UTC(),
			StalenessThresholdMs:             r.StalenessThreshold.Milliseconds(),
			FastHeartbeatIntervalMs:          r.FastInterval.Milliseconds(),
			ComprehensiveHeartbeatIntervalMs: r.ComprehensiveInterval.Milliseconds(),
			ConnectionLimit:                  r.ConnectionLimit,
			Pooler:                           r.Pooler,
		})
	}

	return body
}
