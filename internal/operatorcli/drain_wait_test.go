package operatorcli

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

func TestDrainWait_WantsAReportThatIsYoungerThanTheDrain(t *testing.T) {
	t.Parallel()
	since := time.Unix(1e9, 0)
	draining := func(heard time.Duration, change func(*pb.Controller)) *pb.Controller {
		c := controller("mc", pb.Health_HEALTH_DRAINING)
		c.OperatorDraining, c.Drained, c.LastHeartbeatAt = true, true, timestamppb.New(since.Add(heard))
		c.Drain = &pb.Drain{Since: timestamppb.New(since)}
		change(c)
		return c
	}
	for name, tc := range map[string]struct {
		c    *pb.Controller
		over bool
		code int
		says string
	}{
		"a younger report": {draining(time.Second, func(*pb.Controller) {}), true, 0, "mc is drained"},
		"an older report":  {draining(-time.Second, func(*pb.Controller) {}), false, 0, "by its last report from before the drain"},
		"stale, with an older report": {
			draining(-time.Second, func(c *pb.Controller) { c.Stale = true }), false, 0, "it is stale and reports nothing any more",
		},
		"stale, with a younger report": {draining(time.Second, func(c *pb.Controller) { c.Stale = true }), true, 0, "mc is drained"},
		"the deadline, with an older report": {
			draining(-time.Second, func(c *pb.Controller) { c.Drain.DeadlinePassed = true }), true, ExitNotDrained, "",
		},
		"the deadline, with something left": {
			draining(time.Second, func(c *pb.Controller) { c.Drain.DeadlinePassed, c.Drained, c.CurrentParticipants = true, false, 1 }), true, ExitNotDrained, "",
		},
		"the deadline, with nothing left": {draining(time.Second, func(c *pb.Controller) { c.Drain.DeadlinePassed = true }), true, 0, "mc is drained"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, &fakeGC{fleet: []*pb.Controller{tc.c}})
			w := &waiting{tool: b.session.tool, said: make(map[string]string), out: b.out}
			over, err := w.look(t.Context(), b.session, "mc")
			if err != nil || over != tc.over {
				t.Fatalf("look() = %v, %v, want %v", over, err, tc.over)
			}
			if code := CodeOf(w.undone); w.undone != nil && code != tc.code || (w.undone != nil) != (tc.code != 0) {
				t.Errorf("it ends with %v, want the code %d", w.undone, tc.code)
			}
			if said := b.out.String() + b.errs.String(); !strings.Contains(said, tc.says) {
				t.Errorf("said %q, want %q", said, tc.says)
			}
		})
	}
}
