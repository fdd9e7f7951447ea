package operatorcli

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

func TestDrainWait_NeedsReportSinceDrain(t *testing.T) {
	t.Parallel()
	// drained returns a drained controller whose last report is younger than its drain; negative: older.
	drained := func(reportAge time.Duration, edit func(*pb.Controller)) *pb.Controller {
		since := time.Unix(1e9, 0)
		c := newController("mc", pb.Health_HEALTH_DRAINING)
		c.OperatorDraining, c.Drained = true, true
		c.LastHeartbeatAt = timestamppb.New(since.Add(reportAge))
		c.Drain = &pb.Drain{Since: timestamppb.New(since)}
		edit(c)
		return c
	}

	const younger, older = time.Second, -time.Second
	none := func(*pb.Controller) {}
	stale := func(c *pb.Controller) { c.Stale = true }
	late := func(c *pb.Controller) { c.Drain.DeadlinePassed = true }
	lateWithRest := func(c *pb.Controller) { c.Drain.DeadlinePassed, c.Drained, c.CurrentParticipants = true, false, 1 }

	for name, tc := range map[string]struct {
		controller *pb.Controller
		wantOver   bool
		wantCode   int
		wantOutput string
	}{
		"a younger report":                  {drained(younger, none), true, 0, "mc is drained"},
		"an older report":                   {drained(older, none), false, 0, "by its last report, which is older than the drain"},
		"stale, with an older report":       {drained(older, stale), false, 0, "it is stale and sends no reports"},
		"stale, with a younger report":      {drained(younger, stale), true, 0, "mc is drained"},
		"the deadline, with an older":       {drained(older, late), true, ExitNotDrained, ""},
		"the deadline, with something left": {drained(younger, lateWithRest), true, ExitNotDrained, ""},
		"the deadline, with nothing left":   {drained(younger, late), true, 0, "mc is drained"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, &fakeGlobalController{fleet: []*pb.Controller{tc.controller}})
			w := &drainWait{cli: f.conn.cli, lastLine: make(map[string]string), out: f.out}
			isOver, err := w.checkController(t.Context(), f.conn, "mc")
			if err != nil || isOver != tc.wantOver {
				t.Fatalf("checkController() = %v, %v, want %v", isOver, err, tc.wantOver)
			}

			if code := ExitCodeOf(w.firstFailure); w.firstFailure != nil && code != tc.wantCode || (w.firstFailure != nil) != (tc.wantCode != 0) {
				t.Errorf("the failure is %v, want the exit code %d", w.firstFailure, tc.wantCode)
			}
			if output := f.out.String() + f.errs.String(); !strings.Contains(output, tc.wantOutput) {
				t.Errorf("output = %q, want %q", output, tc.wantOutput)
			}
		})
	}
}
