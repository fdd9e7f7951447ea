package service

// HealthStatus is the public state of a controller, as stored and as shown. The empty value means "no state",
// which only the From of a controller's first [Transition] has.
type HealthStatus string

// The five states of a controller.
const (
	HealthPending   HealthStatus = "pending"
	HealthHealthy   HealthStatus = "healthy"
	HealthDegraded  HealthStatus = "degraded"
	HealthUnhealthy HealthStatus = "unhealthy"
	HealthDraining  HealthStatus = "draining"
)

// HealthStatuses lists the states in the order of their numbers on the wire: pending is 0, draining is 4.
func HealthStatuses() []HealthStatus {
	return []HealthStatus{HealthPending, HealthHealthy, HealthDegraded, HealthUnhealthy, HealthDraining}
}

// HealthStatusFromNumber reads a state as it travels in protobuf. A number that this version does not know is
// read as unhealthy: a controller that reports something we cannot interpret must not get new meetings.
func HealthStatusFromNumber(n int32) HealthStatus {
	switch n {
	case 0:
		return HealthPending
	case 1:
		return HealthHealthy
	case 2:
		return HealthDegraded
	case 4:
		return HealthDraining
	default:
		return HealthUnhealthy
	}
}

// Number is the state as it travels in protobuf, 0 to 4. Anything that is not one of the five states is 3,
// unhealthy, by the rule of [HealthStatusFromNumber].
func (h HealthStatus) Number() int32 {
	for n, status := range HealthStatuses() {
		if h == status {
			return int32(n)
		}
	}
	return 3
}

// Valid tells whether h is one of the five states.
func (h HealthStatus) Valid() bool {
	switch h {
	case HealthPending, HealthHealthy, HealthDegraded, HealthUnhealthy, HealthDraining:
		return true
	default:
		return false
	}
}

// Facts are what is known about a controller's health. Each has one writer: the operator's calls, the
// controller's own registration and heartbeats, and the health checker (a heartbeat clears what the checker set).
type Facts struct {
	// OperatorDraining is the operator's intent. No heartbeat and no registration changes it.
	OperatorDraining bool
	// Reported is pending after a registration, then whatever the last heartbeat said.
	Reported HealthStatus
	// Stale is set by the health checker when the controller has been silent for longer than the threshold.
	Stale bool
}

// Health is the public state that follows from the facts; the first rule that matches wins.
func (f Facts) Health() HealthStatus {
	switch {
	case f.OperatorDraining, f.Reported == HealthDraining:
		return HealthDraining
	case f.Stale:
		return HealthUnhealthy
	default:
		return f.Reported
	}
}

// Cause says which kind of event changed a controller's public state.
type Cause string

// The causes of a [Transition].
const (
	CauseRegister  Cause = "register"
	CauseHeartbeat Cause = "heartbeat"
	CauseStale     Cause = "stale"
	CauseOperator  Cause = "operator"
	CauseRetired   Cause = "retired"
)
