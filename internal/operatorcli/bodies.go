package operatorcli

import "time"

// The bodies are what -o json and -o yaml print. They have the fields of the HTTP API, so that a script can read either; a test
// compares the two.

type controllerBody struct {
	ControllerID         string        `json:"controller_id"`
	Region               string        `json:"region"`
	GRPCEndpoint         string        `json:"grpc_endpoint"`
	WebTransportEndpoint *string       `json:"webtransport_endpoint"`
	MaxMeetings          uint32        `json:"max_meetings"`
	CurrentMeetings      uint32        `json:"current_meetings"`
	MaxParticipants      uint32        `json:"max_participants"`
	CurrentParticipants  uint32        `json:"current_participants"`
	Health               string        `json:"health"`
	OperatorDraining     bool          `json:"operator_draining"`
	ReportedHealth       string        `json:"reported_health"`
	Stale                bool          `json:"stale"`
	CPUUsagePercent      *float64      `json:"cpu_usage_percent"`
	MemoryUsagePercent   *float64      `json:"memory_usage_percent"`
	LastHeartbeatAt      time.Time     `json:"last_heartbeat_at"`
	CreatedAt            time.Time     `json:"created_at"`
	UpdatedAt            time.Time     `json:"updated_at"`
	Placement            placementBody `json:"placement"`
	Drain                *drainBody    `json:"drain"`
	Generation           uint64        `json:"generation"`
	Incarnation          *string       `json:"incarnation"`
	Conflicts            uint64        `json:"incarnation_conflicts"`
	LastConflictAt       *time.Time    `json:"last_incarnation_conflict_at"`
	Drained              bool          `json:"drained"`
	AsOf                 time.Time     `json:"as_of"`
}

type placementBody struct {
	Placeable bool     `json:"placeable"`
	Reasons   []string `json:"reasons"`
}

type drainBody struct {
	Since          time.Time  `json:"since"`
	Deadline       *time.Time `json:"deadline"`
	Reason         string     `json:"reason"`
	By             string     `json:"by"`
	DeadlinePassed bool       `json:"deadline_passed"`
}

type transitionBody struct {
	ID             uint64    `json:"id"`
	ControllerID   string    `json:"controller_id"`
	Region         string    `json:"region"`
	At             time.Time `json:"at"`
	From           *string   `json:"from"`
	To             *string   `json:"to"`
	Cause          string    `json:"cause"`
	Actor          string    `json:"actor"`
	Reason         string    `json:"reason"`
	SilenceMs      uint64    `json:"silence_ms"`
	ReportedHealth string    `json:"reported_health"`
}

type regionCapacityBody struct {
	Max                uint64 `json:"max"`
	Current            uint64 `json:"current"`
	Largest            uint64 `json:"largest"`
	Free               int64  `json:"free"`
	FreeWithoutLargest int64  `json:"free_without_largest"`
}

type regionBody struct {
	Region              string             `json:"region"`
	Pending             uint32             `json:"pending"`
	Healthy             uint32             `json:"healthy"`
	Degraded            uint32             `json:"degraded"`
	Unhealthy           uint32             `json:"unhealthy"`
	Draining            uint32             `json:"draining"`
	Meetings            regionCapacityBody `json:"meetings"`
	Participants        regionCapacityBody `json:"participants"`
	SurvivesLargestLoss bool               `json:"survives_largest_loss"`
}

type planBody struct {
	Safe                 bool       `json:"safe"`
	Reasons              []string   `json:"reasons"`
	MeetingsAffected     uint32     `json:"meetings_affected"`
	ParticipantsAffected uint32     `json:"participants_affected"`
	Before               regionBody `json:"before"`
	After                regionBody `json:"after"`
}

// drainResultBody is a drain or, in a dry run, its plan.
type drainResultBody struct {
	controllerBody

	Plan planBody `json:"plan"`
}

type replicaBody struct {
	ReplicaID                        string    `json:"replica_id"`
	Version                          string    `json:"version"`
	StartedAt                        time.Time `json:"started_at"`
	SeenAt                           time.Time `json:"seen_at"`
	StalenessThresholdMs             uint64    `json:"staleness_threshold_ms"`
	FastHeartbeatIntervalMs          uint64    `json:"fast_heartbeat_interval_ms"`
	ComprehensiveHeartbeatIntervalMs uint64    `json:"comprehensive_heartbeat_interval_ms"`
	ConnectionLimit                  uint32    `json:"connection_limit"`
	Pooler                           bool      `json:"pooler"`
}

type storeBody struct {
	Kind           string    `json:"kind"`
	MaxConnections uint32    `json:"max_connections"`
	Writable       bool      `json:"writable"`
	SchemaVersion  int64     `json:"schema_version"`
	AsOf           time.Time `json:"as_of"`
}

type replicasBody struct {
	Replicas []replicaBody `json:"replicas"`
	Store    storeBody     `json:"store"`
}
