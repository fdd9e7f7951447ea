package grpctransport

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// maxConnectionStreams leaves room for calls among the streams that a connection may have.
	maxConnectionStreams = 800
	// maxSpareWorkers bounds the workers of all streams together, beside one of each stream.
	maxSpareWorkers = 4096
	// workerIdle is how long a stream keeps more workers than it uses. It is longer than the interval of heartbeats.
	workerIdle = 15 * time.Second
)

// streamLimits counts the open streams of heartbeats. The zero value is ready to use.
type streamLimits struct {
	mu           sync.Mutex
	ofSubject    map[string]int
	ofConnection map[string]int

	// spareWorkers are those of all streams, beside the first of each.
	spareWorkers atomic.Int64
}

// open counts a stream until release is called. The refusal has clients send their heartbeats as calls. perSubject is 0
// for no limit.
func (l *streamLimits) open(subject, connection string, perSubject int) (release func(), refusal error) {
	l.mu.Lock()
	defer l.mu.Unlock()

	if l.ofSubject == nil {
		l.ofSubject, l.ofConnection = make(map[string]int), make(map[string]int)
	}
	if l.ofConnection[connection] >= maxConnectionStreams {
		return nil, status.Errorf(codes.ResourceExhausted,
			"Too many heartbeat streams over this connection, at most %d are allowed: send heartbeats as calls", maxConnectionStreams)
	}
	if perSubject > 0 && l.ofSubject[subject] >= perSubject {
		return nil, status.Errorf(codes.ResourceExhausted,
			"Too many heartbeat streams of this client, at most %d are allowed (GC_MAX_CONTROLLERS_PER_SUBJECT): send heartbeats as calls",
			perSubject)
	}

	l.ofConnection[connection]++
	l.ofSubject[subject]++
	return func() { l.close(subject, connection) }, nil
}

func (l *streamLimits) close(subject, connection string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ofConnection[connection]--; l.ofConnection[connection] == 0 {
		delete(l.ofConnection, connection)
	}
	if l.ofSubject[subject]--; l.ofSubject[subject] == 0 {
		delete(l.ofSubject, subject)
	}
}

// takeWorker reports whether a stream may have one more worker.
func (l *streamLimits) takeWorker() bool {
	if l.spareWorkers.Add(1) > maxSpareWorkers {
		l.spareWorkers.Add(-1)
		return false
	}
	return true
}

// startWorker has a new worker answer h. It returns false when the stream has as many workers as it may.
func (s *heartbeatSession) startWorker(ctx context.Context, h *heartbeat) bool {
	s.mu.Lock()
	defer s.mu.Unlock()

	if s.closed || s.workers >= maxUnderWay || s.workers > 0 && !s.server.limits.takeWorker() {
		return false
	}
	s.workers++
	if s.workers > 1 && !s.retiring {
		s.retiring = true
		s.retire.Reset(s.server.workerIdle)
	}
	go s.work(ctx, h)
	return true
}

// retireWorkers ends the workers that were not needed since the last time. It runs as long as there is more than one, so
// that an idle stream has no timer.
func (s *heartbeatSession) retireWorkers() {
	s.mu.Lock()
	defer s.mu.Unlock()

	if s.closed {
		return
	}
	for range s.workers - max(s.peak, 1) {
		select {
		case s.ready <- nil:
			s.workers--
			s.server.limits.spareWorkers.Add(-1)
		default: // The rest is at work.
		}
	}
	s.peak = s.underWay
	if s.retiring = s.workers > 1; s.retiring {
		s.retire.Reset(s.server.workerIdle)
	}
}

// close gives up the workers, which end with the stream.
func (s *heartbeatSession) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.retire.Stop()
	s.server.limits.spareWorkers.Add(-int64(max(0, s.workers-1)))
}
