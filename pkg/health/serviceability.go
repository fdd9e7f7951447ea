package health

// StateOK is the state of a condition that holds.
const StateOK = "ok"

// Condition is one thing that a replica needs in order to accept the heartbeats that it should accept.
type Condition struct {
	// Name is the condition's key in the answer of /ready.
	Name string
	// State returns [StateOK] or a short reason. It is called for each request of /ready, so it must not block.
	State func() string
}

// Serviceability decides from named conditions whether a replica can accept heartbeats. /ready shows it, and a beat of the
// health checker vouches for it, so that both have the same reasons.
type Serviceability struct{ conditions []Condition }

// NewServiceability returns a serviceability that consists of the conditions.
func NewServiceability(conditions ...Condition) *Serviceability {
	return &Serviceability{conditions}
}

// State returns the state of each condition by its name.
func (s *Serviceability) State() map[string]string {
	state := make(map[string]string, len(s.conditions))
	for _, c := range s.conditions {
		state[c.Name] = c.State()
	}
	return state
}

// Serviceable reports whether all conditions hold.
func (s *Serviceability) Serviceable() bool { return s.holds("") }

// Vouches reports whether all conditions hold that a beat does not prove itself: all but the store's.
func (s *Serviceability) Vouches() bool { return s.holds(ConditionStore) }

func (s *Serviceability) holds(except string) bool {
	for _, c := range s.conditions {
		if c.Name != except && c.State() != StateOK {
			return false
		}
	}
	return true
}

// The names of the conditions that this package judges. Others are "server", "keys" and "clock".
const (
	// ConditionStore holds while beats are committed.
	ConditionStore = "store"
	// ConditionHeartbeats holds while most controllers' heartbeats are committed.
	ConditionHeartbeats = "heartbeats"
)
