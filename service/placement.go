package service

// Placement says whether a controller can be given a new meeting and, where it cannot, every reason why.
type Placement struct {
	Placeable bool
	Reasons   []string
}

// Placement explains whether c can be given a new meeting. It is a pure function of what is stored, so what is
// shown and what is decided cannot differ.
func (c Controller) Placement() Placement {
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
		reasons = append(reasons, "it holds as many meetings as it may")
	}
	if c.CurrentParticipants >= c.MaxParticipants {
		reasons = append(reasons, "it holds as many participants as it may")
	}
	return Placement{Placeable: len(reasons) == 0, Reasons: reasons}
}
