package operatorcli

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// quietFor is how long nothing may come of a watch, which has a beat every 5 s.
const quietFor = 20 * time.Second

var errQuiet = status.Error(codes.Unavailable, "nothing has come for a while")

// watcher follows a watch through whatever ends it.
type watcher struct {
	session *session
	region  string
	loads   bool
	// on is told what comes; its error ends the watch.
	on func(*pb.WatchResponse) error
	// trouble is told when the watch breaks off, and nil when it is back.
	trouble func(error)
	// idle is told now and then when nothing comes.
	idle func() error

	last   *uint64 // The id to go on from.
	cursor *string // The same with its fingerprint; nil where the server gives none.
	// heard tells that something has come since the watch was opened last, so that it is not hopeless.
	heard   bool
	broken  bool
	refused bool
}

// run returns when ctx ends, or when to try again would not help.
func (w *watcher) run(ctx context.Context) error {
	began := time.Now()
	for pause := firstPause; ; pause = min(2*pause, longPause) {
		err := w.stream(ctx)
		var stop *stopError
		switch {
		case ctx.Err() != nil:
			return ErrInterrupted
		case errors.As(err, &stop):
			return stop.error
		}
		failure := call{address: w.session.target.address, scope: "gc:read", dev: w.session.target.dev}.orFailure(ctx, err)
		if w.heard {
			pause = firstPause
		}
		switch {
		case w.hopeless(ctx, err, failure):
			return failure
		case w.last == nil && time.Since(began) > retryFor:
			return failure // Nothing was ever seen: as with any other read.
		case w.last != nil && !w.broken:
			w.broken = true
			w.trouble(failure)
		}
		w.heard = false
		if !sleep(ctx, pause) {
			return ErrInterrupted
		}
	}
}

// hopeless tells whether another try would end as this one. A token may have run out, so a refusal counts only when a
// new one is refused as well.
func (w *watcher) hopeless(ctx context.Context, err, failure error) bool {
	if status.Code(err) == codes.Unauthenticated && !w.refused {
		w.refused = true
		if token, err := w.session.tokens.Token(ctx); err == nil {
			w.session.tokens.Invalidate(token)
		}
		return false
	}
	return CodeOf(failure) != ExitUnavailable
}

// stopError is an error of whoever is told, as opposed to one of the stream.
type stopError struct{ error }

// stream opens the watch once, and tells what comes until it ends.
func (w *watcher) stream(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	authorized, err := w.session.withToken(ctx)
	if err != nil {
		return err
	}
	stream, err := w.session.fleet.Watch(authorized, &pb.WatchRequest{Region: w.region, After: w.last, Cursor: w.cursor, Loads: w.loads})
	if err != nil {
		return err
	}
	type received struct {
		response *pb.WatchResponse
		err      error
	}
	incoming := make(chan received)
	go func() {
		for {
			response, err := stream.Recv()
			select {
			case incoming <- received{response, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for latest := time.Now(); ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
			if time.Since(latest) > quietFor {
				return errQuiet
			}
			if err := w.idle(); err != nil {
				return &stopError{err}
			}
		case got := <-incoming:
			switch {
			case errors.Is(got.err, io.EOF):
				return status.Error(codes.Unavailable, "the watch was ended")
			case got.err != nil:
				return got.err
			}
			latest = time.Now()
			if err := w.receive(got.response); err != nil {
				return &stopError{err}
			}
		}
	}
}

func (w *watcher) receive(response *pb.WatchResponse) error {
	w.heard, w.refused = true, false
	if w.broken {
		w.broken = false
		w.trouble(nil)
	}
	if err := w.on(response); err != nil {
		return err
	}
	if id := response.GetId(); id != 0 {
		w.last, w.cursor = &id, nil
		if cursor := response.GetCursor(); cursor != "" {
			w.cursor = &cursor
		}
	}
	return nil
}
