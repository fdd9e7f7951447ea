package operatorcli

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

const (
	healthy  = pb.Health_HEALTH_HEALTHY
	degraded = pb.Health_HEALTH_DEGRADED
	ill      = pb.Health_HEALTH_UNHEALTHY
)

func TestAWatchGoesOnAfterTheLastID(t *testing.T) {
	t.Parallel()
	one := transition(11, controller("mc-1", degraded), healthy)
	gc := &fakeGC{scripts: []script{
		{send: []*pb.WatchResponse{snapshot(5, "start", controller("mc-1", healthy), controller("mc-2", healthy)), changes(6, one)}, end: status.Error(codes.Unavailable, "stopping")},
		{send: []*pb.WatchResponse{changes(7, one, transition(12, controller("mc-1", ill), degraded))}, end: nil},
	}}
	b := newBench(t, gc)
	end := b.watch(listOptions{})
	b.until("what was missed", func() bool { return strings.Contains(b.out.String(), "degraded → unhealthy") })
	if err := end(); !errors.Is(err, ErrInterrupted) {
		t.Errorf("the watch ended with %v, want an interrupt", err)
	}
	if n := strings.Count(b.out.String(), "healthy → degraded"); n != 1 {
		t.Errorf("a change that came again was told %d times, want once:\n%s", n, b.out)
	}
	asked := gc.requests()
	if len(asked) != 2 || asked[0].After != nil || asked[1].GetAfter() != 6 {
		t.Errorf("requests = %v, want the second to go on after 6", asked)
	}
	if got := b.errs.String(); strings.Count(got, "it is tried again") != 1 || strings.Count(got, "answers again") != 1 || strings.Contains(got, "doctor") {
		t.Errorf("the end and the new beginning are told as\n%s", got)
	}
}

func TestAWatchTellsThatSomethingIsNotKnown(t *testing.T) {
	t.Parallel()
	for _, output := range []string{"", "json"} {
		again := snapshot(9, "lagged", controller("mc-1", ill), controller("mc-3", healthy))
		b := newBench(t, &fakeGC{scripts: []script{{send: []*pb.WatchResponse{snapshot(5, "start", controller("mc-1", healthy), controller("mc-2", healthy)), again}}}})
		end := b.watch(listOptions{output: output})
		b.until("the last", func() bool { return strings.Contains(b.out.String(), "mc-3") })
		_ = end()
		want := []string{"2 controllers: 2 healthy", "what was missed is not known (lagged)", "healthy → unhealthy", "healthy → -", "- → healthy"}
		if output == "json" {
			want = []string{`"event":"resync"`, `"reason":"lagged"`, `"event":"changed"`, `"event":"removed"`, `"event":"added"`}
		}
		for _, part := range want {
			if !strings.Contains(b.out.String(), part) {
				t.Errorf("-o %q: %q is missing in\n%s", output, part, b.out)
			}
		}
	}
}

func TestARefusedTokenIsReplacedOnce(t *testing.T) {
	t.Parallel()
	refusal := status.Error(codes.Unauthenticated, "Invalid token")
	b := newBench(t, &fakeGC{scripts: []script{
		{send: []*pb.WatchResponse{snapshot(5, "start", controller("mc-1", healthy))}, end: refusal},
		{send: []*pb.WatchResponse{changes(6, transition(1, controller("mc-1", ill), healthy))}, end: refusal},
		{end: refusal},
	}})
	err := b.session.tool.watchFleet(t.Context(), b.session, listOptions{sort: "id"})
	if CodeOf(err) != ExitNoAccess {
		t.Errorf("the watch ended with %v, want no access after two refusals in a row", err)
	}
	if b.tokens.refused != 2 || !strings.Contains(b.out.String(), "unhealthy") {
		t.Errorf("new tokens = %d, want one for each time that it had run out\n%s", b.tokens.refused, b.out)
	}
}

func TestAWatchThatCannotBeIsGivenUp(t *testing.T) {
	t.Parallel()
	for code, want := range map[codes.Code]int{
		codes.Unimplemented: ExitFailure, codes.PermissionDenied: ExitNoAccess, codes.InvalidArgument: ExitUsage, codes.Unavailable: ExitUnavailable,
	} {
		var scripts []script
		for range 100 {
			scripts = append(scripts, script{end: status.Error(code, "no")})
		}
		b := newBench(t, &fakeGC{scripts: scripts})
		if err := b.session.tool.watchFleet(t.Context(), b.session, listOptions{sort: "id"}); CodeOf(err) != want {
			t.Errorf("after %v the watch ended with %v, want the exit code %d", code, err, want)
		}
	}
}

// hostile is a controller whose every text would steer the terminal.
func hostile() *pb.Controller {
	c := controller("mc-\x1b[2J", healthy)
	c.Region, c.GrpcEndpoint, c.WebtransportEndpoint, c.Incarnation = "eu\x9b31m", "http://\x07", "\u202ehttp", "a\u0085b"
	c.Drain = &pb.Drain{Reason: "rm\r\nforged line\x1b]0;title\x07", By: "ops\x00"}
	c.Placement = &pb.Placement{Reasons: []string{"\x1b[31mred"}}
	for _, text := range []*string{&c.Region} {
		*text = strings.ToValidUTF8(*text, "\u009b")
	}
	return c
}

func TestNothingThatCameSteersTheTerminal(t *testing.T) {
	t.Parallel()
	steered := func(text string) bool {
		text = strings.NewReplacer("\n", "", "\r\x1b[J", "", "\x1b[2A", "", "\x1b[3A", "").Replace(text)
		return strings.ContainsFunc(text, steers)
	}
	c := hostile()
	b := newBench(t, &fakeGC{fleet: []*pb.Controller{c}})
	for _, output := range []string{"", "wide", "json", "yaml"} {
		o := listOptions{output: output, sort: "id"}
		found, err := b.session.controllers(t.Context(), "", 0)
		if err != nil {
			t.Fatal(err)
		}
		order(found, o.sort)
		if output == "json" || output == "yaml" {
			err = writeAs(b.out, output, []controllerBody{controllerToBody(found[0])})
		} else {
			err = fleetTable(found, output == "wide", found[0].GetAsOf().AsTime()).write(b.out, false)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	history := transition(1, c, degraded)
	history.Transition.Reason, history.Transition.Actor = "\x1b[31m", "\x9b"
	history.Transition.Actor = strings.ToValidUTF8(history.Transition.Actor, "\u009b")
	if err := b.session.tool.writeController(c, []*pb.Transition{history.GetTransition()}); err != nil {
		t.Fatal(err)
	}
	b.session.tool.writePlan(&pb.DrainResponse{Controller: c, Plan: &pb.DrainPlan{Reasons: []string{"\x1b[31m"}}})
	for _, terminal := range []bool{true, false} {
		for _, output := range []string{"", "json"} {
			watched := newBench(t, &fakeGC{scripts: []script{{send: []*pb.WatchResponse{
				snapshot(5, "st\x1bart", controller("mc-0", healthy)), changes(6, history, &pb.Change{ControllerId: "mc-0"}), snapshot(7, "go\x1bne", c),
				changes(8, &pb.Change{ControllerId: c.GetControllerId(), Controller: controller(c.GetControllerId(), ill)}),
			}, end: status.Error(codes.FailedPrecondition, "\x1b[31m")}}})
			watched.session.tool.OutTerminal = terminal
			err := watched.session.tool.watchFleet(t.Context(), watched.session, listOptions{sort: "id", output: output})
			_, _ = b.out.Write([]byte(watched.out.String() + watched.errs.String() + err.Error()))
		}
	}
	for line := range strings.Lines(b.out.String()) {
		if steered(line) || strings.HasPrefix(line, "forged") {
			t.Errorf("a line steers the terminal: %q", line)
		}
	}
	if !strings.Contains(b.out.String(), `\u001b[2J`) {
		t.Errorf("what would steer is to be shown:\n%s", b.out)
	}
}

func TestLoadsAndBeatsOnlyChangeTheTable(t *testing.T) {
	t.Parallel()
	v := newView()
	v.take(snapshot(1, "start", controller("mc-1", healthy)))
	before := v.fleet["mc-1"]
	loads := &pb.WatchResponse{Event: &pb.WatchResponse_Loads{Loads: &pb.Loads{Loads: []*pb.Load{
		{ControllerId: "mc-1", CurrentMeetings: 7, CpuUsagePercent: proto.Float64(50)}, {ControllerId: "mc-9"},
	}}}}
	if events := v.take(loads); len(events) > 0 || v.fleet["mc-1"].GetCurrentMeetings() != 7 || len(v.fleet) != 1 || before.GetCurrentMeetings() != 0 {
		t.Errorf("loads made %v and left %v, want no events, and 7 meetings of mc-1 only", events, v.fleet)
	}
	same := controller("mc-1", healthy)
	same.CurrentMeetings = 9
	if events := v.take(changes(2, &pb.Change{ControllerId: "mc-1", Controller: same})); len(events) > 0 {
		t.Errorf("a change of nothing but the load made %v", events)
	}
	if events := v.take(&pb.WatchResponse{Event: &pb.WatchResponse_Beat{Beat: &pb.Beat{}}}); len(events) > 0 {
		t.Errorf("a beat made %v", events)
	}
}
