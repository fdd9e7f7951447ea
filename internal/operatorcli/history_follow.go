package operatorcli

import (
	"context"
	"errors"
	"io"
	"time"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// followInterval is the poll interval of history --follow.
const followInterval = time.Second

// followHistory prints a page, then new transitions. Each request continues after the cursor of the last response, so none is
// missed. If the history was replaced, it prints a warning and starts again with the newest transitions.
func (c *cli) followHistory(ctx context.Context, conn *connection, o historyOptions, page historyPage) error {
	if page.nextCursor == "" {
		return newFailure(ExitFailure, "history --follow needs cursors, which this Global Controller does not send: it is older than this gcctl")
	}

	isUnavailable := false
	for {
		if err := c.writeTransitions(page.transitions, o.output); err != nil {
			return err
		}
		if len(page.transitions) < maxPageSize && !sleep(ctx, followInterval) {
			return ErrInterrupted
		}

		next, isRestarted, err := c.readNextPage(ctx, conn, o, page.nextCursor)
		switch {
		case ctx.Err() != nil:
			return ErrInterrupted
		case err != nil && ExitCodeOf(err) != ExitUnavailable:
			return err
		case err != nil:
			if !isUnavailable {
				c.warn("%s; retrying", withoutAdvice(err))
			}

			isUnavailable = true
			page.transitions = nil
			continue
		case isUnavailable:
			isUnavailable = false
			if !isRestarted {
				c.note("the Global Controller is available again; no transition was missed")
			}
		}
		page = next
	}
}

// readNextPage reads the transitions after a cursor. If the history does not continue there, it reads the newest ones instead and
// sets isRestarted.
func (c *cli) readNextPage(
	ctx context.Context, conn *connection, o historyOptions, cursor string,
) (page historyPage, isRestarted bool, err error) {
	in := &pb.ListTransitionsRequest{ControllerId: o.id, Region: o.region, PageSize: maxPageSize, Cursor: &cursor}
	response, err := readWithRetry(ctx, conn, o.id, in, conn.fleet.ListTransitions)
	var gone *cursorGoneError
	if errors.As(err, &gone) {
		c.warn("the history was replaced, for example by a restored backup, or its next transitions have been pruned; " +
			"the newest transitions follow, and may repeat those above")
		page, err = conn.readNewest(ctx, &pb.ListTransitionsRequest{ControllerId: o.id, Region: o.region}, o.limit)
		return page, true, err
	}
	return historyPage{transitions: response.GetTransitions(), nextCursor: response.GetNextCursor()}, false, err
}

// writeTransitions writes each transition as a line of text or JSON.
func (c *cli) writeTransitions(transitions []*pb.Transition, output string) error {
	for _, t := range transitions {
		if output == "json" {
			if err := writeLine(c.Out, transitionToBody(t)); err != nil {
				return err
			}
			continue
		}
		if _, err := io.WriteString(c.Out, transitionLine(t, c.painter())+"\n"); err != nil {
			return err
		}
	}
	return nil
}
