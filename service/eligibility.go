package service

// Eligibility reports whether a controller accepts new meetings, and every reason why not. On the wire it is the field "placement".
type Eligibility struct {
	Eligible bool
	Reasons  []string
}

// Eligibility returns whether c accepts new meetings, and why not. It explains the stored state; [placement.Ineligible] decides about
// one meeting and also examines assignments, labels and cool-downs.
func (c Controller) Eligibility() Eligibility {
	var reasons []string
	switch {
	case c.Facts.OperatorDraining:
		reasons = append(reasons, "an operator is draining it")
	case c.Health == HealthDraining:
		reasons = append(reasons, "it reports that it is draining")
	case c.Health == HealthPending:
		reasons = append(reasons, "it has registered but not yet reported that it is healthy")
	case c.Health == HealthUnhealthy && !c.Facts.Stale:
		reasons = append(reasons, "it reports that it is unhealthy")
	}

	if c.Facts.Stale {
		reasons = append(reasons, "no heartbeat within the staleness threshold")
	}
	if c.CurrentMeetings >= c.MaxMeetings {
		reasons = append(reasons, "it has reached max_meetings")
	}
	if c.CurrentParticipants >= c.MaxParticipants {
		reasons = append(reasons, "it has reached max_participants")
	}

	return Eligibility{Eligible: len(reasons) == 0, Reasons: reasons}
}
