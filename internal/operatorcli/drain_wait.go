package operatorcli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// drainPollInterval is how often --wait reads the controllers.
const drainPollInterval = time.Second

// drainWait waits for the end of several drains.
type drainWait struct {
	cli *cli
	// remaining are the controllers whose wait is not over.
	remaining []string
	// lastLine is the last progress of each of them.
	lastLine map[string]string
	// out gets a line for each controller that is drained.
	out io.Writer
	// isLineDrawn is set while a progress line stands in the terminal.
	isLineDrawn bool
	// isUnavailable is set after the last read of a controller found no Global Controller.
	isUnavailable bool
	// firstFailure is the reason why the first of the undrained controllers was not drained.
	firstFailure error
}

// waitUntilDrained waits for all controllers, and returns nil only if all of them are drained. If isOutFree is not set, Out has
// JSON or YAML, and the results go to Err.
func (c *cli) waitUntilDrained(ctx context.Context, conn *connection, ids []string, isOutFree bool) error {
	w := &drainWait{cli: c, remaining: ids, lastLine: make(map[string]string), out: c.Out}
	if !isOutFree {
		w.out = c.Err
	}
	defer w.clearProgress()

	for {
		var remaining []string
		for _, id := range w.remaining {
			isOver, err := w.checkController(ctx, conn, id)
			if err != nil {
				return err
			}
			if !isOver {
				remaining = append(remaining, id)
			}
		}
		w.remaining = remaining

		if len(remaining) == 0 {
			w.clearProgress()
			return w.firstFailure
		}
		w.drawProgress()
		if !sleep(ctx, drainPollInterval) {
			return w.interrupt()
		}
	}
}

// interrupt prints that the drains go on without the wait, and returns the result of the command.
func (w *drainWait) interrupt() error {
	w.clearProgress()
	w.cli.note("the wait is interrupted; the drain of %s goes on", joinAnd(w.remaining))
	return ErrInterrupted
}

// checkController reads a controller and reports whether its wait is over.
func (w *drainWait) checkController(ctx context.Context, conn *connection, id string) (isOver bool, err error) {
	controller, err := conn.getController(ctx, id)
	switch {
	case ctx.Err() != nil:
		return false, w.interrupt()
	case err != nil && ExitCodeOf(err) == ExitNotFound:
		w.recordFailure(ExitNotFound, "%s left the fleet before it was drained, so its load is unknown; see gcctl history %s", id, id)
		return true, nil
	case err != nil && ExitCodeOf(err) == ExitUnavailable:
		if !w.isUnavailable {
			w.clearProgress()
			w.cli.warn("%s; the drain and the wait go on", withoutAdvice(err))
		}
		w.isUnavailable = true
		return false, nil
	case err != nil:
		return false, err
	}

	w.isUnavailable = false
	switch {
	case !controller.GetOperatorDraining():
		w.recordFailure(ExitRefused, "the drain of %s was ended before it was complete; see gcctl history %s", id, id)
		return true, nil
	case controller.GetDrained() && hasReportedSinceDrain(controller):
		w.printDrained(id)
		return true, nil
	case controller.GetDrain().GetDeadlinePassed():
		w.recordFailure(ExitNotDrained, "%s is not drained: the deadline has passed; left: %s", id, describeRemaining(controller))
		return true, nil
	}
	w.updateProgress(id, fmt.Sprintf("%s: left: %s", id, describeRemaining(controller)), controller)
	return false, nil
}

// hasReportedSinceDrain reports whether the controller's last report is newer than its drain. An older report does not include a
// meeting that was placed between the report and the drain.
func hasReportedSinceDrain(c *pb.Controller) bool {
	return !c.GetLastHeartbeatAt().AsTime().Before(c.GetDrain().GetSince().AsTime())
}

// describeRemaining describes what runs on a draining controller, and the age of that report.
func describeRemaining(c *pb.Controller) string {
	text := describeLoad(c)
	if !hasReportedSinceDrain(c) {
		text += " by its last report, which is older than the drain"
	}
	if c.GetStale() {
		text += "; it is stale and sends no reports: it may only be disconnected"
	}
	return text
}

// recordFailure records why a controller is not drained. The first failure is the result of the command; others are printed.
func (w *drainWait) recordFailure(code int, format string, values ...any) {
	text := clean(fmt.Sprintf(format, values...))
	if w.firstFailure == nil {
		w.firstFailure = newFailure(code, "%s", text)
		return
	}
	w.clearProgress()
	w.cli.warn("%s", text)
}

// updateProgress sets the progress of a controller. Outside of a terminal it prints a line if it has changed.
func (w *drainWait) updateProgress(id, text string, c *pb.Controller) {
	if !w.cli.ErrTerminal {
		if w.lastLine[id] != text {
			_, _ = fmt.Fprintln(w.cli.Err, clean(text))
		}
		w.lastLine[id] = text
		return
	}

	if d := c.GetDrain(); d.GetDeadline() != nil {
		text += "; deadline in " + formatAge(d.GetDeadline().AsTime().Sub(c.GetAsOf().AsTime()))
	}
	w.lastLine[id] = text
}

// drawProgress shows the progress of all controllers on one line of the terminal, which replaces the line before.
func (w *drainWait) drawProgress() {
	if !w.cli.ErrTerminal {
		return
	}

	var parts []string
	for _, id := range w.remaining {
		parts = append(parts, clean(w.lastLine[id]))
	}
	columns, _ := w.cli.Size()
	_, _ = fmt.Fprint(w.cli.Err, "\r\x1b[K"+cutTo(strings.Join(parts, "   "), columns-1))
	w.isLineDrawn = true
}

func (w *drainWait) clearProgress() {
	if w.isLineDrawn {
		_, _ = fmt.Fprint(w.cli.Err, "\r\x1b[K")
	}
	w.isLineDrawn = false
}

func (w *drainWait) printDrained(id string) {
	w.clearProgress()
	_, _ = fmt.Fprintln(w.out, clean(id)+" is drained")
	delete(w.lastLine, id)
}
