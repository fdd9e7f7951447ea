package operatorcli

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// maxWatchSilence is how long a watch may send nothing. The server sends at least a beat every 5 s.
const maxWatchSilence = 20 * time.Second

var errWatchSilent = status.Error(codes.Unavailable, "the watch has sent nothing for a while")

// watcher follows a watch, and resumes it after it was interrupted.
type watcher struct {
	conn       *connection
	region     string
	wantsLoads bool
	// onResponse handles a response. Its error ends the watch.
	onResponse func(*pb.WatchResponse) error
	// onConnectionChange is called with the error that interrupted the watch, and with nil when the watch is back.
	onConnectionChange func(error)
	// onIdle is called about once a second. Its error ends the watch.
	onIdle func() error

	// lastID is the id to resume from; nil before the first response.
	lastID *uint64
	// cursor is lastID with a fingerprint of the history; nil if the server sends none.
	cursor *string
	// hasReceived is set if the current stream has sent a response.
	hasReceived bool
	// isInterrupted is set from the end of a stream until the next response.
	isInterrupted bool
	// isTokenReplaced is set if the token was replaced since the last response.
	isTokenReplaced bool
}

// run follows the watch until ctx ends, a callback returns an error, or another attempt cannot succeed.
func (w *watcher) run(ctx context.Context) error {
	began := time.Now()
	for pause := minRetryPause; ; pause = min(2*pause, maxRetryPause) {
		err := w.streamOnce(ctx)
		var fromCallback *callbackError
		switch {
		case ctx.Err() != nil:
			return ErrInterrupted
		case errors.As(err, &fromCallback):
			return fromCallback.error
		}

		c := call{address: w.conn.target.address, scope: scopeRead, isDevStack: w.conn.target.isDevStack}
		failure := c.describeError(ctx, err)
		switch {
		case w.isPermanent(ctx, err, failure):
			return failure
		case w.lastID == nil && time.Since(began) > maxRetryTime:
			return failure // The watch has never worked: give up as soon as any other read.
		case w.lastID != nil && !w.isInterrupted:
			w.isInterrupted = true
			w.onConnectionChange(failure)
		}

		if w.hasReceived {
			pause = minRetryPause
		}
		w.hasReceived = false
		if !sleep(ctx, pause) {
			return ErrInterrupted
		}
	}
}

// isPermanent reports whether another attempt would fail in the same way. A token may have expired, so a rejected token is
// permanent only if its replacement is rejected as well.
func (w *watcher) isPermanent(ctx context.Context, err, failure error) bool {
	if status.Code(err) == codes.Unauthenticated && !w.isTokenReplaced {
		w.isTokenReplaced = true
		if token, err := w.conn.tokens.Token(ctx); err == nil {
			w.conn.tokens.Invalidate(token)
		}
		return false
	}
	return ExitCodeOf(failure) != ExitUnavailable
}

// callbackError is an error of a callback, as opposed to one of the stream.
type callbackError struct{ error }

// streamOnce opens the watch and handles its responses until the stream ends.
func (w *watcher) streamOnce(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	authorized, err := w.conn.withToken(ctx)
	if err != nil {
		return err
	}
	in := &pb.WatchRequest{Region: w.region, After: w.lastID, Cursor: w.cursor, Loads: w.wantsLoads}
	stream, err := w.conn.fleet.Watch(authorized, in)
	if err != nil {
		return err
	}
	received := receiveAll(ctx, stream)

	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for lastReceived := time.Now(); ; {
		select {
		case <-ctx.Done():
			return ctx.Err()

		case <-ticker.C:
			if time.Since(lastReceived) > maxWatchSilence {
				return errWatchSilent
			}
			if err := w.onIdle(); err != nil {
				return &callbackError{err}
			}

		case r := <-received:
			switch {
			case errors.Is(r.err, io.EOF):
				return status.Error(codes.Unavailable, "the server ended the watch")
			case r.err != nil:
				return r.err
			}

			lastReceived = time.Now()
			if err := w.handleResponse(r.response); err != nil {
				return &callbackError{err}
			}
		}
	}
}

// watchResult is a response of a stream, or the error that ended it.
type watchResult struct {
	response *pb.WatchResponse
	err      error
}

// receiveAll returns a channel with the responses of a stream, until the stream or ctx ends.
func receiveAll(ctx context.Context, stream grpc.ServerStreamingClient[pb.WatchResponse]) <-chan watchResult {
	results := make(chan watchResult)

	go func() {
		for {
			response, err := stream.Recv()
			select {
			case results <- watchResult{response, err}:
			case <-ctx.Done():
				return
			}

			if err != nil {
				return
			}
		}
	}()
	return results
}

func (w *watcher) handleResponse(response *pb.WatchResponse) error {
	w.hasReceived = true
	w.isTokenReplaced = false
	if w.isInterrupted {
		w.isInterrupted = false
		w.onConnectionChange(nil)
	}

	if err := w.onResponse(response); err != nil {
		return err
	}

	if id := response.GetId(); id != 0 {
		w.lastID, w.cursor = &id, nil
		if cursor := response.GetCursor(); cursor != "" {
			w.cursor = &cursor
		}
	}
	return nil
}
