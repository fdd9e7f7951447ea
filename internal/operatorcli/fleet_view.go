package operatorcli

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
)

// The kinds of events, as --watch -o json prints them.
const (
	eventPresent = "present"
	eventAdded   = "added"
	eventChanged = "changed"
	eventRemoved = "removed"
	eventResync  = "resync"
)

// fleetEvent is a change of a fleetView. A resync has a reason only.
type fleetEvent struct {
	kind       string
	id         string
	before     *pb.Controller
	after      *pb.Controller
	transition *pb.Transition
	reason     string
}

// fleetView is a copy of the fleet that the responses of a watch keep up to date.
type fleetView struct {
	controllers map[string]*pb.Controller
	// snapshotParts are the controllers of a snapshot that has not ended yet; nil if there is none.
	snapshotParts  map[string]*pb.Controller
	snapshotReason string
	// isComplete is set after the first snapshot.
	isComplete bool
	// asOf is the time of the last response by the store's clock.
	asOf time.Time
	// lastTransitionIDs has the last transition of each controller that was reported. Transitions may arrive again.
	lastTransitionIDs map[string]uint64
}

func newFleetView() *fleetView {
	return &fleetView{controllers: make(map[string]*pb.Controller), lastTransitionIDs: make(map[string]uint64)}
}

// apply updates the view by a response and returns the events.
func (v *fleetView) apply(response *pb.WatchResponse) []fleetEvent {
	if response.GetAsOf() != nil {
		v.asOf = response.GetAsOf().AsTime()
	}

	switch {
	case response.GetSnapshot() != nil:
		return v.applySnapshot(response.GetSnapshot())
	case response.GetChanges() != nil:
		return v.applyChanges(response.GetChanges().GetChanges())
	case response.GetLoads() != nil:
		v.applyLoads(response.GetLoads().GetLoads())
	}
	return nil
}

// applySnapshot collects the parts of a snapshot. The last part replaces the view.
func (v *fleetView) applySnapshot(part *pb.Snapshot) []fleetEvent {
	if part.GetBegin() || v.snapshotParts == nil {
		v.snapshotParts = make(map[string]*pb.Controller)
		v.snapshotReason = part.GetReason()
	}
	for _, c := range part.GetControllers() {
		v.snapshotParts[c.GetControllerId()] = c
	}
	if !part.GetEnd() {
		return nil
	}

	old, isFirst := v.controllers, !v.isComplete
	v.controllers, v.snapshotParts = v.snapshotParts, nil
	v.isComplete = true
	if isFirst {
		var events []fleetEvent
		for id, c := range v.controllers {
			events = append(events, fleetEvent{kind: eventPresent, id: id, after: c})
		}
		return events
	}

	if v.snapshotReason == service.SnapshotGone {
		// The history may be another one, whose ids start again.
		clear(v.lastTransitionIDs)
	}
	return append([]fleetEvent{{kind: eventResync, reason: v.snapshotReason}}, compareFleets(old, v.controllers)...)
}

// compareFleets returns an event for each controller that was added, changed or removed.
func compareFleets(before, after map[string]*pb.Controller) (events []fleetEvent) {
	for id, c := range after {
		switch old := before[id]; {
		case old == nil:
			events = append(events, fleetEvent{kind: eventAdded, id: id, after: c})
		case hasVisibleChange(old, c):
			events = append(events, fleetEvent{kind: eventChanged, id: id, before: old, after: c})
		}
	}
	for id, old := range before {
		if after[id] == nil {
			events = append(events, fleetEvent{kind: eventRemoved, id: id, before: old})
		}
	}
	return events
}

func (v *fleetView) applyChanges(changes []*pb.Change) (events []fleetEvent) {
	for _, change := range changes {
		id := change.GetControllerId()
		before, after := v.controllers[id], change.GetController()
		if after == nil {
			delete(v.controllers, id)
		} else {
			v.controllers[id] = after
		}

		transition := change.GetTransition()
		if transition == nil && !hasVisibleChange(before, after) {
			continue
		}
		if transition != nil {
			if transition.GetId() <= v.lastTransitionIDs[id] {
				continue // It was reported before.
			}
			v.lastTransitionIDs[id] = transition.GetId()
		}

		events = append(events, fleetEvent{
			kind:       changeKind(before, after, transition),
			id:         id,
			before:     before,
			after:      after,
			transition: transition,
		})
	}
	return events
}

// changeKind decides by the transition if there is one: the controller may already be as later changes have left it.
func changeKind(before, after *pb.Controller, transition *pb.Transition) string {
	wasAbsent, isAbsent := before == nil, after == nil
	if transition != nil {
		wasAbsent = transition.GetFrom() == pb.Health_HEALTH_UNSPECIFIED
		isAbsent = transition.GetTo() == pb.Health_HEALTH_UNSPECIFIED
	}

	switch {
	case isAbsent:
		return eventRemoved
	case wasAbsent:
		return eventAdded
	}
	return eventChanged
}

func (v *fleetView) applyLoads(loads []*pb.Load) {
	for _, l := range loads {
		c := v.controllers[l.GetControllerId()]
		if c == nil {
			continue
		}

		c = proto.CloneOf(c)
		c.CurrentMeetings = l.GetCurrentMeetings()
		c.CurrentParticipants = l.GetCurrentParticipants()
		c.CpuUsagePercent = l.CpuUsagePercent       //nolint:protogetter // Unset is not 0.
		c.MemoryUsagePercent = l.MemoryUsagePercent //nolint:protogetter // Unset is not 0.
		c.LastHeartbeatAt = l.GetLastHeartbeatAt()
		c.Drained = l.GetDrained()
		c.AsOf = timestamppb.New(v.asOf)
		v.controllers[l.GetControllerId()] = c
	}
}

// hasVisibleChange reports whether two versions of a controller differ in more than what every heartbeat changes. A nil is
// a controller that is not in the fleet.
func hasVisibleChange(a, b *pb.Controller) bool {
	if a == nil || b == nil {
		return a != b
	}

	a, b = proto.CloneOf(a), proto.CloneOf(b)
	for _, c := range []*pb.Controller{a, b} {
		c.CurrentMeetings, c.CurrentParticipants = 0, 0
		c.CpuUsagePercent, c.MemoryUsagePercent = nil, nil
		c.LastHeartbeatAt, c.UpdatedAt, c.AsOf = nil, nil, nil
		c.Placement = nil
	}
	return !proto.Equal(a, b)
}
