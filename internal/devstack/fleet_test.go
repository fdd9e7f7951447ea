package devstack

import (
	"testing"

	"go.uber.org/goleak"

	pb "darktower.example/global-controller/proto/darktower/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestController_DrainedMeetingsEnd(t *testing.T) {
	t.Parallel()
	c := &controller{capacity: &pb.ControllerCapacity{MaxMeetings: 100}}
	c.invent()
	c.draining = true
	for before := c.capacity.GetCurrentMeetings(); before > 0; before = c.capacity.GetCurrentMeetings() {
		if c.invent(); c.capacity.GetCurrentMeetings() >= before {
			t.Fatalf("%d meetings, then %d, on a controller that is given none", before, c.capacity.GetCurrentMeetings())
		}
	}
	if c.capacity.GetCurrentParticipants() != 0 {
		t.Errorf("%d participants without a meeting", c.capacity.GetCurrentParticipants())
	}
}
