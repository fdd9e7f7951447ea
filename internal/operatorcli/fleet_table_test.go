package operatorcli

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

func TestControllerNotes_DrainStaleAndConflicts(t *testing.T) {
	t.Parallel()
	today := &pb.Drain{Deadline: timestamppb.New(testTime().AsTime().Add(time.Hour))}
	past := &pb.Drain{Deadline: testTime(), DeadlinePassed: true, Reason: "rack 4"}

	for want, edit := range map[string]func(*pb.Controller){
		"":                                    func(*pb.Controller) {},
		"draining":                            func(c *pb.Controller) { c.Drain = &pb.Drain{} },
		"draining, deadline 02:46:40Z":        func(c *pb.Controller) { c.Drain = today },
		"drained, deadline 02:46:40Z":         func(c *pb.Controller) { c.Drain, c.Drained = today, true },
		"draining, deadline passed (rack 4)":  func(c *pb.Controller) { c.Drain = past },
		"drained, deadline passed (rack 4)":   func(c *pb.Controller) { c.Drain, c.Drained = past, true },
		"drains itself; stale":                func(c *pb.Controller) { c.Health, c.Stale = pb.Health_HEALTH_DRAINING, true },
		"drains itself, drained":              func(c *pb.Controller) { c.Health, c.Drained = pb.Health_HEALTH_DRAINING, true },
		"1 call from another process":         func(c *pb.Controller) { c.IncarnationConflicts = 1 },
		"stale; 2 calls from another process": func(c *pb.Controller) { c.Stale, c.IncarnationConflicts = true, 2 },
	} {
		c := newController("mc", healthy)
		edit(c)
		if got := strings.Join(controllerNotes(c), "; "); got != want {
			t.Errorf("notes = %q, want %q", got, want)
		}
	}
}

func TestSortWords_AllHaveAnOrder(t *testing.T) {
	t.Parallel()
	for _, word := range sortWords() {
		if err := checkSortWord("-" + word); err != nil {
			t.Errorf("checkSortWord(-%s) = %v, want nil", word, err)
		}
	}
}
