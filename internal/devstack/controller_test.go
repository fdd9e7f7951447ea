package devstack

import (
	"testing"

	"go.uber.org/goleak"

	pb "darktower.example/global-controller/proto/darktower/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestController_MeetingsEndWhileDraining(t *testing.T) {
	t.Parallel()
	c := &controller{capacity: &pb.ControllerCapacity{MaxMeetings: 100}}
	c.updateLoad()
	c.isDraining = true

	for before := c.capacity.GetCurrentMeetings(); before > 0; before = c.capacity.GetCurrentMeetings() {
		c.updateLoad()
		if now := c.capacity.GetCurrentMeetings(); now >= before {
			t.Fatalf("the draining controller has %d meetings, want fewer than the %d before", now, before)
		}
	}
	if n := c.capacity.GetCurrentParticipants(); n != 0 {
		t.Errorf("%d participants without a meeting, want 0", n)
	}
}
