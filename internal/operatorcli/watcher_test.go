package operatorcli

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

const (
	healthy   = pb.Health_HEALTH_HEALTHY
	degraded  = pb.Health_HEALTH_DEGRADED
	unhealthy = pb.Health_HEALTH_UNHEALTHY
)

func TestWatcher_ResumesAfterLastID(t *testing.T) {
	t.Parallel()
	repeated := newTransition(11, newController("mc-1", degraded), healthy)
	gc := &fakeGlobalController{scripts: []script{
		{
			send: []*pb.WatchResponse{
				newSnapshot(5, "start", newController("mc-1", healthy), newController("mc-2", healthy)),
				newChanges(6, repeated),
			},
			end: status.Error(codes.Unavailable, "stopping"),
		},
		{send: []*pb.WatchResponse{newChanges(7, repeated, newTransition(12, newController("mc-1", unhealthy), degraded))}},
	}}
	f := newFixture(t, gc)
	interrupt := f.startWatch(fleetListOptions{})

	f.waitUntil("the missed transition is printed", func() bool { return strings.Contains(f.out.String(), "degraded → unhealthy") })
	if err := interrupt(); !errors.Is(err, ErrInterrupted) {
		t.Errorf("the watch ended with %v, want an interrupt", err)
	}

	if n := strings.Count(f.out.String(), "healthy → degraded"); n != 1 {
		t.Errorf("a repeated transition was printed %d times, want once:\n%s", n, f.out)
	}
	requests := gc.watchRequests()
	if len(requests) != 2 || requests[0].After != nil || requests[1].GetAfter() != 6 {
		t.Errorf("requests = %v, want the second to resume after 6", requests)
	}
	errs := f.errs.String()
	if strings.Count(errs, "; retrying") != 1 || strings.Count(errs, "is available again") != 1 || strings.Contains(errs, "doctor") {
		t.Errorf("the interruption is reported as\n%s\nwant a line for its begin and one for its end, without advice", errs)
	}
}

func TestWatcher_Resync(t *testing.T) {
	t.Parallel()
	for output, want := range map[string][]string{
		"": {
			"2 controllers: 2 healthy", "changes may have been missed (lagged)", "healthy → unhealthy", "healthy → -", "- → healthy",
		},
		"json": {
			`"event":"resync"`, `"reason":"lagged"`, `"event":"changed"`, `"event":"removed"`, `"event":"added"`,
		},
	} {
		first := newSnapshot(5, "start", newController("mc-1", healthy), newController("mc-2", healthy))
		second := newSnapshot(9, "lagged", newController("mc-1", unhealthy), newController("mc-3", healthy))
		f := newFixture(t, &fakeGlobalController{scripts: []script{{send: []*pb.WatchResponse{first, second}}}})
		interrupt := f.startWatch(fleetListOptions{output: output})

		f.waitUntil("the last event is printed", func() bool { return strings.Contains(f.out.String(), "mc-3") })
		_ = interrupt()
		for _, part := range want {
			if !strings.Contains(f.out.String(), part) {
				t.Errorf("-o %q: %q is missing in\n%s", output, part, f.out)
			}
		}
	}
}

func TestWatcher_RejectedTokenIsReplacedOnce(t *testing.T) {
	t.Parallel()
	rejection := status.Error(codes.Unauthenticated, "Invalid token")
	f := newFixture(t, &fakeGlobalController{scripts: []script{
		{send: []*pb.WatchResponse{newSnapshot(5, "start", newController("mc-1", healthy))}, end: rejection},
		{send: []*pb.WatchResponse{newChanges(6, newTransition(1, newController("mc-1", unhealthy), healthy))}, end: rejection},
		{end: rejection},
	}})

	err := f.conn.cli.watchFleet(t.Context(), f.conn, fleetListOptions{sort: "id"})
	if ExitCodeOf(err) != ExitNoAccess {
		t.Errorf("the watch ended with %v, want no access after two rejections in a row", err)
	}
	if f.tokens.rejected != 2 || !strings.Contains(f.out.String(), "unhealthy") {
		t.Errorf("replaced tokens = %d, want one for each time that the token had expired\n%s", f.tokens.rejected, f.out)
	}
}

func TestWatcher_PermanentErrorEndsIt(t *testing.T) {
	t.Parallel()
	for code, want := range map[codes.Code]int{
		codes.Unimplemented:    ExitFailure,
		codes.PermissionDenied: ExitNoAccess,
		codes.InvalidArgument:  ExitUsage,
		codes.Unavailable:      ExitUnavailable,
	} {
		var scripts []script
		for range 100 {
			scripts = append(scripts, script{end: status.Error(code, "no")})
		}

		f := newFixture(t, &fakeGlobalController{scripts: scripts})
		if err := f.conn.cli.watchFleet(t.Context(), f.conn, fleetListOptions{sort: "id"}); ExitCodeOf(err) != want {
			t.Errorf("after %v the watch ended with %v, want exit code %d", code, err, want)
		}
	}
}
