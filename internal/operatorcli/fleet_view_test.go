package operatorcli

import (
	"testing"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// TestView_AnotherHistory: a restored backup gives out ids again that were seen before it.
func TestView_AnotherHistory(t *testing.T) {
	t.Parallel()
	draining := controller("mc-1", healthy)
	draining.Health = pb.Health_HEALTH_DRAINING
	change := &pb.Change{ControllerId: "mc-1", Controller: draining, Transition: &pb.Transition{Id: 7, ControllerId: "mc-1", To: pb.Health_HEALTH_DRAINING}}

	for _, tc := range []struct {
		reason string
		want   int
	}{{"gone", 1}, {"lagged", 0}} {
		v := newView()
		v.take(snapshot(1, "start", controller("mc-1", healthy)))
		v.take(changes(7, change))
		v.take(snapshot(5, tc.reason, controller("mc-1", healthy)))
		if events := v.take(changes(7, change)); len(events) != tc.want {
			t.Errorf("after a snapshot %q a change with an id that was seen made %d events, want %d", tc.reason, len(events), tc.want)
		}
	}
}
