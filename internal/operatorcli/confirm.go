package operatorcli

import (
	"bufio"
	"context"
	"strings"
)

// checkCanConfirm returns an error if a change is neither confirmed by --yes nor can be confirmed at a terminal. A script without
// --yes therefore changes nothing.
func (c *cli) checkCanConfirm(isConfirmed bool) error {
	if isConfirmed || c.InTerminal && c.ErrTerminal {
		return nil
	}
	return usageError("standard input or standard error is not a terminal: pass --yes to confirm")
}

// confirm asks a question and reports whether the reply is yes. It writes to Err, because Out may be a file.
func (c *cli) confirm(ctx context.Context, question string) bool {
	_, _ = c.Err.Write([]byte(question + " [y/N] "))

	reply := make(chan string, 1)
	go func() {
		// After an interrupt this read goes on until the process ends.
		line, _ := bufio.NewReader(c.In).ReadString('\n')
		reply <- line
	}()

	select {
	case <-ctx.Done():
		_, _ = c.Err.Write([]byte("\n"))
		return false
	case line := <-reply:
		if !strings.HasSuffix(line, "\n") {
			_, _ = c.Err.Write([]byte("\n")) // At the end of the input no Enter has ended the line.
		}

		switch strings.ToLower(strings.TrimSpace(line)) {
		case "y", "yes":
			return true
		}
		return false
	}
}

// declinedError is the error after confirm has returned false.
func declinedError(ctx context.Context) error {
	if ctx.Err() != nil {
		return ErrInterrupted
	}
	return newFailure(ExitFailure, "nothing was changed")
}
