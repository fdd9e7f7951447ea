package operatorcli

import (
	"bufio"
	"context"
	"strings"
)

// mayAsk: where nobody can be asked, a change needs --yes. A script that forgets it does nothing, rather than anything.
func (t *tool) mayAsk(yes bool) error {
	if yes || t.InTerminal && t.ErrTerminal {
		return nil
	}
	return wrongUse("this is no terminal to ask in: --yes does it without asking")
}

// confirm asks, on the stream of the errors, as the other one may go into a file.
func (t *tool) confirm(ctx context.Context, question string) bool {
	_, _ = t.Err.Write([]byte(question + " [y/N] "))
	answer := make(chan string, 1)
	go func() {
		// When the command is interrupted this goes on waiting for a line, until the process ends.
		line, _ := bufio.NewReader(t.In).ReadString('\n')
		answer <- line
	}()
	select {
	case <-ctx.Done():
		_, _ = t.Err.Write([]byte("\n"))
		return false
	case line := <-answer:
		if !strings.HasSuffix(line, "\n") {
			_, _ = t.Err.Write([]byte("\n")) // Nobody is there who would have ended the line.
		}
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "y", "yes":
			return true
		}
		return false
	}
}

// notDone is the end after a "no", or an interrupt in its place.
func notDone(ctx context.Context) error {
	if ctx.Err() != nil {
		return ErrInterrupted
	}
	return failed(ExitFailure, "nothing was changed")
}

func joinAnd(texts []string) string {
	return strings.Replace(joinOr(texts), " or ", " and ", 1)
}
