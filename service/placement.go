package service

// Placement reports whether a controller can get a new meeting, and every reason why not.
type Placement struct {
	Placeable bool
	Reasons   []string
}

// Placement returns whether c can get a new meeting, and why not. It is a pure function of the stored values, so that explanations and
// decisions cannot differ.
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
