package watch

import (
	"testing"
	"time"

	"darktower.example/global-controller/service"
)

// TestState_HealthBeforeItsChange: a controller may be read after its change was committed, and the history before it. Then
// the change is sent once, when the history has it too.
func TestState_HealthBeforeTransition(t *testing.T) {
	const id = "mc-1"
	now := time.Now()
	begin := func() *state {
		return newState(cursor{}, 0, service.ChangePage{AsOf: now}, []service.Controller{{ControllerID: id, Health: service.HealthHealthy}})
	}
	drained := map[string]*service.Controller{id: {ControllerID: id, Health: service.HealthDraining}}
	drain := service.Transition{ID: 1, ControllerID: id, At: now, From: service.HealthHealthy, To: service.HealthDraining}

	t.Run("the history follows", func(t *testing.T) {
		st := begin()
		if d := st.applyHistory(service.ChangePage{AsOf: now}, []string{id}, drained); len(d.changes) > 0 || !st.pendingTransitions[id] {
			t.Errorf("changes before the history has it = %+v, early = %v, want none, and the controller to be read again", d.changes, st.pendingTransitions)
		}
		d := st.applyHistory(service.ChangePage{AsOf: now, Transitions: []service.Transition{drain}}, []string{id}, drained)
		if len(d.changes) != 1 || d.changes[0].Transition == nil || len(st.pendingTransitions) > 0 {
			t.Errorf("changes with the history = %+v, early = %v, want one with its transition", d.changes, st.pendingTransitions)
		}
	})

	t.Run("changed by hand", func(t *testing.T) {
		st := begin()
		st.applyHistory(service.ChangePage{AsOf: now}, []string{id}, drained)
		d := st.applyHistory(service.ChangePage{AsOf: now}, []string{id}, drained)
		if len(d.changes) != 1 || d.changes[0].Transition != nil {
			t.Errorf("changes = %+v, want one without a transition in the next round", d.changes)
		}
	})
}
