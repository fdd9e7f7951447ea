package watch

import (
	"testing"
	"time"

	"darktower.example/global-controller/service"
)

// TestState_HealthReadBeforeTransitionIsSentOnce: a poll may read the history before a transition is committed, and the controller
// after it. The change is sent once, with the transition.
func TestState_HealthReadBeforeTransitionIsSentOnce(t *testing.T) {
	const id = "mc-1"
	now := time.Now()
	newHealthyState := func() *state {
		healthy := []service.Controller{{ControllerID: id, Health: service.HealthHealthy}}
		return newState(seenIDs{}, 0, service.ChangePage{AsOf: now}, healthy)
	}
	drained := map[string]*service.Controller{id: {ControllerID: id, Health: service.HealthDraining}}
	drain := service.Transition{ID: 1, ControllerID: id, At: now, From: service.HealthHealthy, To: service.HealthDraining}

	t.Run("transition follows", func(t *testing.T) {
		st := newHealthyState()
		d := st.applyHistory(service.ChangePage{AsOf: now}, []string{id}, drained)
		if len(d.changes) > 0 || !st.pendingTransitions[id] {
			t.Errorf("changes before the transition = %+v, pending = %v, want none and the controller", d.changes, st.pendingTransitions)
		}

		d = st.applyHistory(service.ChangePage{AsOf: now, Transitions: []service.Transition{drain}}, []string{id}, drained)
		if len(d.changes) != 1 || d.changes[0].Transition == nil || len(st.pendingTransitions) > 0 {
			t.Errorf("changes with the transition = %+v, pending = %v, want one with its transition", d.changes, st.pendingTransitions)
		}
	})

	t.Run("changed by hand", func(t *testing.T) {
		st := newHealthyState()
		st.applyHistory(service.ChangePage{AsOf: now}, []string{id}, drained)
		d := st.applyHistory(service.ChangePage{AsOf: now}, []string{id}, drained)
		if len(d.changes) != 1 || d.changes[0].Transition != nil {
			t.Errorf("changes = %+v, want one without a transition in the next poll", d.changes)
		}
	})
}
