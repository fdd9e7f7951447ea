package operatorcli

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// hostileController returns a controller with control characters in each of its texts.
func hostileController() *pb.Controller {
	c := newController("mc-\x1b[2J", healthy)
	c.Region = strings.ToValidUTF8("eu\x9b31m", "\u009b")
	c.GrpcEndpoint = "http://\x07"
	c.WebtransportEndpoint = "\u202ehttp"
	c.Incarnation = "a\u0085b"
	c.Drain = &pb.Drain{Reason: "rm\r\nforged line\x1b]0;title\x07", By: "ops\x00"}
	c.Placement = &pb.Placement{Reasons: []string{"\x1b[31mred"}}
	return c
}

// hostileTransition returns a transition of a controller with control characters in its texts.
func hostileTransition(c *pb.Controller) *pb.Change {
	change := newTransition(1, c, degraded)
	change.Transition.Reason = "\x1b[31m"
	change.Transition.Actor = strings.ToValidUTF8("\x9b", "\u009b")
	return change
}

// hostileWatch returns a watch of a controller with control characters.
func hostileWatch(c *pb.Controller) *fakeGlobalController {
	id := c.GetControllerId()
	return &fakeGlobalController{scripts: []script{{
		send: []*pb.WatchResponse{
			newSnapshot(5, "st\x1bart", newController("mc-0", healthy)),
			newChanges(6, hostileTransition(c), &pb.Change{ControllerId: "mc-0"}),
			newSnapshot(7, "go\x1bne", c),
			newChanges(8, &pb.Change{ControllerId: id, Controller: newController(id, unhealthy)}),
		},
		end: status.Error(codes.FailedPrecondition, "\x1b[31m"),
	}}}
}

func TestOutput_HasNoControlCharacters(t *testing.T) {
	t.Parallel()
	c := hostileController()
	f := newFixture(t, &fakeGlobalController{fleet: []*pb.Controller{c}})

	for _, format := range []string{"json", "yaml"} {
		if err := writeAs(f.out, format, []controllerBody{controllerToBody(c)}); err != nil {
			t.Fatal(err)
		}
	}

	for _, isWide := range []bool{true, false} {
		if err := fleetTable([]*pb.Controller{c}, isWide, c.GetAsOf().AsTime()).write(f.out, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.conn.cli.writeController(c, []*pb.Transition{hostileTransition(c).GetTransition()}); err != nil {
		t.Fatal(err)
	}
	f.conn.cli.printPlan(&pb.DrainResponse{Controller: c, Plan: &pb.DrainPlan{Reasons: []string{"\x1b[31m"}}})

	for _, isTerminal := range []bool{true, false} {
		for _, output := range []string{"", "json"} {
			watch := newFixture(t, hostileWatch(c))
			watch.conn.cli.OutTerminal = isTerminal
			err := watch.conn.cli.watchFleet(t.Context(), watch.conn, fleetListOptions{sort: "id", output: output})
			_, _ = f.out.Write([]byte(watch.out.String() + watch.errs.String() + err.Error()))
		}
	}

	own := strings.NewReplacer("\n", "", "\r\x1b[J", "", "\x1b[2A", "", "\x1b[3A", "") // What redraws the table.
	for line := range strings.Lines(f.out.String()) {
		if strings.ContainsFunc(own.Replace(line), controlsTerminal) || strings.HasPrefix(line, "forged") {
			t.Errorf("a line controls the terminal: %q", line)
		}
	}
	if !strings.Contains(f.out.String(), `\u001b[2J`) {
		t.Errorf("control characters are not shown as numbers:\n%s", f.out)
	}
}
