package operatorcli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// waitPause is how often a drain that is waited for is looked at.
const waitPause = time.Second

// waiting is what is left to wait for.
type waiting struct {
	tool *tool
	left []string
	// said is the last line about each, so that none is said twice.
	said map[string]string
	// out is told what has come to its end.
	out    io.Writer
	drawn  bool
	silent bool
	// undone is why the first of those was not drained whose wait is over.
	undone error
}

// waitUntilDrained waits for all of them, and returns nil only if all of them are drained.
func (t *tool) waitUntilDrained(ctx context.Context, s *session, ids []string, forPeople bool) error {
	w := &waiting{tool: t, left: ids, said: make(map[string]string), out: t.Out}
	if !forPeople {
		w.out = t.Err // The other stream is somebody's JSON.
	}
	defer w.clear()
	for {
		var left []string
		for _, id := range w.left {
			over, err := w.look(ctx, s, id)
			if err != nil {
				return err
			}
			if !over {
				left = append(left, id)
			}
		}
		if w.left = left; len(left) == 0 {
			w.clear()
			return w.undone
		}
		w.draw()
		if !sleep(ctx, waitPause) {
			return w.interrupted()
		}
	}
}

func (w *waiting) interrupted() error {
	w.clear()
	w.tool.note("%s goes on draining", joinAnd(w.left))
	return ErrInterrupted
}

// look looks at one, and tells whether its wait is over.
func (w *waiting) look(ctx context.Context, s *session, id string) (over bool, err error) {
	got, err := read(ctx, s, id, &pb.GetControllerRequest{ControllerId: id}, s.fleet.GetController)
	switch {
	case ctx.Err() != nil:
		return false, w.interrupted()
	case err != nil && CodeOf(err) == ExitNotFound:
		w.fail(ExitNotFound, "%s left the fleet before it was drained, so what runs on it is unknown; gcctl history %s shows why", id, id)
		return true, nil
	case err != nil && CodeOf(err) == ExitUnavailable:
		if !w.silent {
			w.clear()
			w.tool.warn("%s; the drain goes on, and so does the wait", withoutAdvice(err))
		}
		w.silent = true
		return false, nil
	case err != nil:
		return false, err
	}
	w.silent = false
	c := got.GetController()
	switch {
	case !c.GetOperatorDraining():
		w.fail(ExitRefused, "the drain of %s was ended before it was complete: see gcctl history %s for the actor", id, id)
		return true, nil
	case c.GetDrained() && reportedSinceDrain(c):
		w.say(id, "%s is drained", id)
		return true, nil
	case c.GetDrain().GetDeadlinePassed():
		w.fail(ExitNotDrained, "%s is not drained: the deadline is over; left: %s", id, describeRemaining(c))
		return true, nil
	}
	w.progress(id, fmt.Sprintf("%s: left: %s", id, describeRemaining(c)), c)
	return false, nil
}

// reportedSinceDrain reports whether the controller's last report is newer than its drain. An older report does not include a
// meeting that was placed between the report and the drain.
func reportedSinceDrain(c *pb.Controller) bool {
	return !c.GetLastHeartbeatAt().AsTime().Before(c.GetDrain().GetSince().AsTime())
}

// describeRemaining describes what runs on a draining controller, and the age of that report.
func describeRemaining(c *pb.Controller) string {
	text := running(c)
	if !reportedSinceDrain(c) {
		text += " by its last report from before the drain"
	}
	if c.GetStale() {
		text += "; it is stale and reports nothing any more: it may only be cut off"
	}
	return text
}

// fail notes why a controller is not drained. The first reason is what the command ends with; the others are said at once.
func (w *waiting) fail(code int, format string, values ...any) {
	text := clean(fmt.Sprintf(format, values...))
	if w.undone == nil {
		w.undone = failed(code, "%s", text)
		return
	}
	w.clear()
	w.tool.warn("%s", text)
}

// progress is drawn in a terminal; elsewhere each change is a line.
func (w *waiting) progress(id, text string, c *pb.Controller) {
	if !w.tool.ErrTerminal {
		if w.said[id] != text {
			_, _ = fmt.Fprintln(w.tool.Err, clean(text))
		}
		w.said[id] = text
		return
	}
	if d := c.GetDrain(); d.GetDeadline() != nil {
		text += "; deadline in " + age(d.GetDeadline().AsTime().Sub(c.GetAsOf().AsTime()))
	}
	w.said[id] = text
}

// draw shows the progress of all on one line, which the next drawing replaces.
func (w *waiting) draw() {
	if !w.tool.ErrTerminal {
		return
	}
	var parts []string
	for _, id := range w.left {
		parts = append(parts, clean(w.said[id]))
	}
	columns, _ := w.tool.Size()
	_, _ = fmt.Fprint(w.tool.Err, "\r\x1b[K"+cutTo(strings.Join(parts, "   "), columns-1))
	w.drawn = true
}

func (w *waiting) clear() {
	if w.drawn {
		_, _ = fmt.Fprint(w.tool.Err, "\r\x1b[K")
	}
	w.drawn = false
}

// say says what has come to its end.
func (w *waiting) say(id, format string, values ...any) {
	w.clear()
	_, _ = fmt.Fprintln(w.out, clean(fmt.Sprintf(format, values...)))
	delete(w.said, id)
}
