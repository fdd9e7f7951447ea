package service

// HealthStatus is the public state of a controller, as stored and as shown. The empty value means "no state". Only transitions of a new
// controller (From) and of a controller that left (To) have it.
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

// HealthStatusFromNumber converts the number of a state in the protocol of deployed controllers (dark_tower). An unknown number is read
// as unhealthy: a controller whose report cannot be interpreted gets no meetings.
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

// Number returns the number of the state in the protocol of deployed controllers, 0 to 4. For anything that is not one of the five
// states it returns 3, unhealthy, as in [HealthStatusFromNumber].
func (h HealthStatus) Number() int32 {
	for n, status := range HealthStatuses() {
		if h == status {
			return int32(n)
		}
	}
	return 3
}

// IsValid reports whether h is one of the five states.
func (h HealthStatus) IsValid() bool {
	switch h {
	case HealthPending, HealthHealthy, HealthDegraded, HealthUnhealthy, HealthDraining:
		return true
	default:
		return false
	}
}

// Facts are the stored facts about a controller's health. Each is set by one writer: the operator's calls, the controller's own
// registrations and heartbeats, or the health checker. Heartbeats and registrations also clear staleness.
type Facts struct {
	// OperatorDraining is the operator's intent. No heartbeat and no registration changes it.
	OperatorDraining bool
	// Reported is pending after a registration, then the state of the last heartbeat.
	Reported HealthStatus
	// Stale is set by the health checker if the last heartbeat is older than the threshold.
	Stale bool
}

// Health returns the public state that follows from the facts; the first rule that matches applies.
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

// Cause is the kind of event that changed a controller's public state.
type Cause string

// The causes of a [Transition].
const (
	CauseRegister  Cause = "register"
	CauseHeartbeat Cause = "heartbeat"
	CauseStale     Cause = "stale"
	CauseOperator  Cause = "operator"
	CauseRetired   Cause = "retired"
)

// RetiredReason begins the reason of a controller that was retired. One that deregistered itself has [CauseRetired] with another
// reason.
const RetiredReason = "silent for longer than "
