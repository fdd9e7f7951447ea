package operatorcli

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
)

// What can happen in a view of the fleet.
const (
	eventPresent = "present"
	eventAdded   = "added"
	eventChanged = "changed"
	eventRemoved = "removed"
	eventResync  = "resync"
)

// event is something that happened in a view.
type event struct {
	kind, id      string
	before, after *pb.Controller
	transition    *pb.Transition
	reason        string
}

// view is the fleet as a watch tells it.
type view struct {
	fleet map[string]*pb.Controller
	// parts are those of a snapshot that is not whole yet; nil: there is none.
	parts map[string]*pb.Controller
	// reason is that of the snapshot.
	reason string
	whole  bool
	// asOf is the clock of the store.
	asOf time.Time
	// told are the last changes of state that were told, as they may come again.
	told map[string]uint64
}

func newView() *view {
	return &view{fleet: make(map[string]*pb.Controller), told: make(map[string]uint64)}
}

// take takes in what came, and returns what happened.
func (v *view) take(response *pb.WatchResponse) []event {
	if response.GetAsOf() != nil {
		v.asOf = response.GetAsOf().AsTime()
	}
	switch {
	case response.GetSnapshot() != nil:
		return v.snapshot(response.GetSnapshot())
	case response.GetChanges() != nil:
		return v.changes(response.GetChanges().GetChanges())
	case response.GetLoads() != nil:
		v.loads(response.GetLoads().GetLoads())
	}
	return nil
}

func (v *view) snapshot(part *pb.Snapshot) (events []event) {
	if part.GetBegin() || v.parts == nil {
		v.parts, v.reason = make(map[string]*pb.Controller), part.GetReason()
	}
	for _, c := range part.GetControllers() {
		v.parts[c.GetControllerId()] = c
	}
	if !part.GetEnd() {
		return nil
	}
	old, first := v.fleet, !v.whole
	v.fleet, v.parts, v.whole = v.parts, nil, true
	if first {
		for _, c := range v.fleet {
			events = append(events, event{kind: eventPresent, id: c.GetControllerId(), after: c})
		}
		return events
	}
	if v.reason == service.SnapshotGone {
		// The history may be another one, whose ids begin anew.
		clear(v.told)
	}
	events = append(events, event{kind: eventResync, reason: v.reason})
	for id, c := range v.fleet {
		switch before := old[id]; {
		case before == nil:
			events = append(events, event{kind: eventAdded, id: id, after: c})
		case differs(before, c):
			events = append(events, event{kind: eventChanged, id: id, before: before, after: c})
		}
	}
	for id, before := range old {
		if v.fleet[id] == nil {
			events = append(events, event{kind: eventRemoved, id: id, before: before})
		}
	}
	return events
}

func (v *view) changes(changes []*pb.Change) (events []event) {
	for _, change := range changes {
		id := change.GetControllerId()
		before := v.fleet[id]
		if change.GetController() == nil {
			delete(v.fleet, id)
		} else {
			v.fleet[id] = change.GetController()
		}
		transition := change.GetTransition()
		switch {
		case transition != nil && transition.GetId() <= v.told[id]:
			continue // It comes again.
		case transition == nil && (before == nil && change.GetController() == nil || before != nil && change.GetController() != nil && !differs(before, change.GetController())):
			continue
		case transition != nil:
			v.told[id] = transition.GetId()
		}
		events = append(events, event{kind: kindOf(before, change), id: id, before: before, after: change.GetController(), transition: transition})
	}
	return events
}

// kindOf goes by the history where there is an entry: the controller is as it is now, which may be after more changes.
func kindOf(before *pb.Controller, change *pb.Change) string {
	transition, after := change.GetTransition(), change.GetController()
	switch {
	case transition != nil && transition.GetTo() == pb.Health_HEALTH_UNSPECIFIED, transition == nil && after == nil:
		return eventRemoved
	case transition != nil && transition.GetFrom() == pb.Health_HEALTH_UNSPECIFIED, transition == nil && before == nil:
		return eventAdded
	}
	return eventChanged
}

func (v *view) loads(loads []*pb.Load) {
	for _, l := range loads {
		c := v.fleet[l.GetControllerId()]
		if c == nil {
			continue
		}
		c = proto.CloneOf(c)
		c.CurrentMeetings, c.CurrentParticipants, c.LastHeartbeatAt, c.Drained = l.GetCurrentMeetings(), l.GetCurrentParticipants(), l.GetLastHeartbeatAt(), l.GetDrained()
		c.CpuUsagePercent, c.MemoryUsagePercent = l.CpuUsagePercent, l.MemoryUsagePercent //nolint:protogetter // Unset is not 0.
		c.AsOf = timestamppb.New(v.asOf)
		v.fleet[l.GetControllerId()] = c
	}
}

// differs tells whether there is something to tell: heartbeats are not.
func differs(a, b *pb.Controller) bool {
	a, b = proto.CloneOf(a), proto.CloneOf(b)
	for _, c := range []*pb.Controller{a, b} {
		c.CurrentMeetings, c.CurrentParticipants, c.CpuUsagePercent, c.MemoryUsagePercent = 0, 0, nil, nil
		c.LastHeartbeatAt, c.UpdatedAt, c.AsOf, c.Placement = nil, nil, nil, nil
	}
	return !proto.Equal(a, b)
}
