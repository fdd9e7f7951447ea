package operatorcli

import (
	"testing"

	"google.golang.org/protobuf/proto"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// TestFleetView_ReplacedHistory checks that transition ids count again after a restored backup has restarted them.
func TestFleetView_ReplacedHistory(t *testing.T) {
	t.Parallel()
	change := newTransition(7, newController("mc-1", pb.Health_HEALTH_DRAINING), healthy)

	for reason, want := range map[string]int{"gone": 1, "lagged": 0} {
		v := newFleetView()
		v.apply(newSnapshot(1, "start", newController("mc-1", healthy)))
		v.apply(newChanges(7, change))
		v.apply(newSnapshot(5, reason, newController("mc-1", healthy)))
		if events := v.apply(newChanges(7, change)); len(events) != want {
			t.Errorf("after a snapshot %q, a repeated transition id caused %d events, want %d", reason, len(events), want)
		}
	}
}

func TestFleetView_LoadsAndBeatsAreNoEvents(t *testing.T) {
	t.Parallel()
	v := newFleetView()
	v.apply(newSnapshot(1, "start", newController("mc-1", healthy)))
	before := v.controllers["mc-1"]

	loads := &pb.WatchResponse{Event: &pb.WatchResponse_Loads{Loads: &pb.Loads{Loads: []*pb.Load{
		{ControllerId: "mc-1", CurrentMeetings: 7, CpuUsagePercent: proto.Float64(50)},
		{ControllerId: "mc-9"},
	}}}}
	events := v.apply(loads)
	if len(events) > 0 || v.controllers["mc-1"].GetCurrentMeetings() != 7 || len(v.controllers) != 1 {
		t.Errorf("loads caused %v and left %v, want no events, and 7 meetings of mc-1 only", events, v.controllers)
	}
	if before.GetCurrentMeetings() != 0 {
		t.Error("loads changed a controller in place")
	}

	same := newController("mc-1", healthy)
	same.CurrentMeetings = 9
	if events := v.apply(newChanges(2, &pb.Change{ControllerId: "mc-1", Controller: same})); len(events) > 0 {
		t.Errorf("a change of the load alone caused %v", events)
	}
	if events := v.apply(&pb.WatchResponse{Event: &pb.WatchResponse_Beat{Beat: &pb.Beat{}}}); len(events) > 0 {
		t.Errorf("a beat caused %v", events)
	}
}
