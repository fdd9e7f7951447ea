package grpctransport

import (
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// maxConnectionStreams leaves room for calls among the HTTP/2 streams that a connection may have.
	maxConnectionStreams = 800
	// maxSpareWorkers limits the workers of all streams together, not counting one for each stream.
	maxSpareWorkers = 4096
	// defaultWorkerIdleTime is how long a stream keeps more workers than it uses. It is longer than the heartbeat interval.
	defaultWorkerIdleTime = 15 * time.Second
)

// streamLimits counts the open heartbeat streams. The zero value is ready to use.
type streamLimits struct {
	mu           sync.Mutex
	bySubject    map[string]int
	byConnection map[string]int

	// spareWorkers is the number of workers of all streams, not counting the first one of each.
	spareWorkers atomic.Int64
}

// open counts a stream until release is called. A client that gets the refusal sends its heartbeats as calls. perSubject is 0 for no
// limit.
func (l *streamLimits) open(subject, connection string, perSubject int) (release func(), refusal error) {
	l.mu.Lock()
	defer l.mu.Unlock()

	if l.bySubject == nil {
		l.bySubject, l.byConnection = make(map[string]int), make(map[string]int)
	}
	if l.byConnection[connection] >= maxConnectionStreams {
		return nil, status.Errorf(codes.ResourceExhausted,
			"Too many heartbeat streams over this connection, at most %d are allowed: send heartbeats as calls", maxConnectionStreams)
	}
	if perSubject > 0 && l.bySubject[subject] >= perSubject {
		return nil, status.Errorf(codes.ResourceExhausted,
			"Too many heartbeat streams of this client, at most %d are allowed (GC_MAX_CONTROLLERS_PER_SUBJECT): send heartbeats as calls",
			perSubject)
	}

	l.byConnection[connection]++
	l.bySubject[subject]++
	return func() { l.close(subject, connection) }, nil
}

// close uncounts a stream.
func (l *streamLimits) close(subject, connection string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byConnection[connection]--; l.byConnection[connection] == 0 {
		delete(l.byConnection, connection)
	}
	if l.bySubject[subject]--; l.bySubject[subject] == 0 {
		delete(l.bySubject, subject)
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
