package health

// StateOK is the state of a condition that holds.
const StateOK = "ok"

// Condition is a readiness condition: one thing that a replica needs to accept heartbeats.
type Condition struct {
	// Name is the condition's key in the response of /ready.
	Name string
	// State returns [StateOK] or a short reason. Each request of /ready calls it, so it must not block.
	State func() string
}

// Serviceability decides from named readiness conditions whether a replica can accept heartbeats. /ready and the beats of the health
// checker both use it, so that they agree.
type Serviceability struct{ conditions []Condition }

// NewServiceability returns the serviceability of a replica with these conditions.
func NewServiceability(conditions ...Condition) *Serviceability {
	return &Serviceability{conditions}
}

// States returns the state of each condition by its name.
func (s *Serviceability) States() map[string]string {
	state := make(map[string]string, len(s.conditions))
	for _, c := range s.conditions {
		state[c.Name] = c.State()
	}
	return state
}

// IsServiceable reports whether all conditions hold.
func (s *Serviceability) IsServiceable() bool { return s.allHold("") }

// CanVouch reports whether all conditions hold except the store's, which a beat itself proves. See [Config.CanVouch].
func (s *Serviceability) CanVouch() bool { return s.allHold(ConditionStore) }

func (s *Serviceability) allHold(except string) bool {
	for _, c := range s.conditions {
		if c.Name != except && c.State() != StateOK {
			return false
		}
	}
	return true
}

// Names of the conditions that this package judges. Others are "server", "schema", "keys" and "clock".
const (
	// ConditionStore holds while beats are committed.
	ConditionStore = "store"
	// ConditionHeartbeats holds while most controllers' heartbeats are committed.
	ConditionHeartbeats = "heartbeats"
)
