package endpoints

import (
	"context"
	"hash/maphash"
	"net"
	"sync"
	"time"

	"github.com/go-kit/kit/endpoint"
	lru "github.com/hashicorp/golang-lru/v2"

	"darktower.example/global-controller/service"
)

const (
	// maxTrackedIDs limits the number of controllers, and of connections, that are compared. In a larger fleet shared ids stay
	// undetected.
	maxTrackedIDs = 1 << 17
	// sharedAfterReturns is how often in a row two connections must take turns before they count as two processes.
	sharedAfterReturns = 2
	// lateHeartbeatTime is how long after a registration earlier heartbeats may still arrive.
	lateHeartbeatTime = 2 * time.Second
)

// FindSharedIDs calls onShared for each controller id that two processes without an incarnation use. The store cannot distinguish
// them. It keeps the endpoint of the last one that registered, even after that process stopped.
//
// The middleware compares the connections of registrations and comprehensive heartbeats over gRPC. Fast heartbeats, which are more
// frequent, cost nothing. Each replica sees only its own connections.
//
// Two connections belong to two processes if they take turns and each of them brings a heartbeat in every interval. They also do if
// one of them continues after the other one registered the id with another endpoint. A connection with heartbeats of several
// controllers belongs to a proxy, and is not evidence.
func FindSharedIDs(interval time.Duration, now func() time.Time, onShared func(controllerID string)) Middleware {
	tracker := newConnectionTracker(interval, now)

	return func(op Operation) endpoint.Middleware {
		return func(next endpoint.Endpoint) endpoint.Endpoint {
			if op.Name != "RegisterMC" && op.Name != "ComprehensiveHeartbeat" {
				return next
			}
			return func(ctx context.Context, request any) (any, error) {
				response, err := next(ctx, request)
				if err == nil && tracker.record(CallFrom(ctx), request) {
					onShared(controllerID(request))
				}
				return response, err
			}
		}
	}
}

// connectionTracker records over which connections controllers report.
type connectionTracker struct {
	interval time.Duration
	now      func() time.Time
	seed     maphash.Seed

	mu sync.Mutex
	// pairs has the last two connections of each controller.
	pairs *lru.Cache[string, *connectionPair]
	// controllerByConnection has the controller of each connection, 0 for several; both as hashes.
	controllerByConnection *lru.Cache[uint64, uint64]
}

// connectionPair has the last two connections of one controller.
type connectionPair struct {
	last, before     uint64
	lastAt, beforeAt time.Time
	returns          int // How often in a row the earlier connection was used again.

	endpoint uint64 // A hash of the endpoint in the last registration; 0: unknown.
	// movedAt is the time of the last registration with another endpoint, and movedBy its connection.
	movedAt time.Time
	movedBy uint64
}

func newConnectionTracker(interval time.Duration, now func() time.Time) *connectionTracker {
	// New fails for a size of 0 only.
	pairs, _ := lru.New[string, *connectionPair](maxTrackedIDs)
	controllers, _ := lru.New[uint64, uint64](maxTrackedIDs)
	return &connectionTracker{
		interval:               interval,
		now:                    now,
		seed:                   maphash.MakeSeed(),
		pairs:                  pairs,
		controllerByConnection: controllers,
	}
}

// record records a call that succeeded and reports whether it shows that two processes use the controller's id.
func (t *connectionTracker) record(call *Call, request any) bool {
	address, ok := call.Connection.(*net.TCPAddr)
	if !ok || call.Transport != "grpc" {
		return false
	}
	connection := maphash.Comparable(t.seed, address.AddrPort())

	switch r := request.(type) {
	case Request[service.Registration]:
		if r.Value.Incarnation == "" {
			t.recordRegistration(r.Value.ControllerID, r.Value.GRPCEndpoint, connection)
		}
	case Request[service.ComprehensiveHeartbeat]:
		if r.Value.Incarnation == "" {
			return t.recordHeartbeat(r.Value.ControllerID, connection)
		}
	}
	return false
}

// recordRegistration records the endpoint of a registration.
func (t *connectionTracker) recordRegistration(id, endpoint string, connection uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()

	t.recordController(connection, id)
	pair := t.pairOf(id)
	hash := maphash.String(t.seed, endpoint) | 1 // Never 0.
	if pair.endpoint != 0 && pair.endpoint != hash {
		pair.movedAt = t.now()
		pair.movedBy = connection
	}
	pair.endpoint = hash
}

// recordHeartbeat records the connection of a heartbeat and reports whether another process uses the id as well.
func (t *connectionTracker) recordHeartbeat(id string, connection uint64) (isShared bool) {
	t.mu.Lock()
	defer t.mu.Unlock()

	now, pair := t.now(), t.pairOf(id)
	if connection == pair.last {
		isShared = pair.continuesAfterMove(pair.lastAt, connection, now) && !t.isProxy(connection) && !t.isProxy(pair.movedBy)
		pair.lastAt = now
		return isShared
	}

	if connection == pair.before && now.Sub(pair.beforeAt) <= t.interval*3/2 {
		pair.returns++
		isShared = pair.returns >= sharedAfterReturns || pair.continuesAfterMove(pair.beforeAt, connection, now)
		isShared = isShared && !t.isProxy(pair.last) && !t.isProxy(connection)
	} else {
		pair.returns = 0
		t.recordController(connection, id)
	}

	pair.before, pair.beforeAt = pair.last, pair.lastAt
	pair.last, pair.lastAt = connection, now
	return isShared
}

// continuesAfterMove reports whether a connection with a heartbeat at usedAt, before another connection registered the id with another
// endpoint, is still in use.
func (p *connectionPair) continuesAfterMove(usedAt time.Time, connection uint64, now time.Time) bool {
	return usedAt.Before(p.movedAt) && connection != p.movedBy && now.Sub(p.movedAt) > lateHeartbeatTime
}

// pairOf returns the connections of a controller.
func (t *connectionTracker) pairOf(id string) *connectionPair {
	pair, ok := t.pairs.Get(id)
	if !ok {
		pair = &connectionPair{}
		t.pairs.Add(id, pair)
	}
	return pair
}

// recordController records the controller of a connection.
func (t *connectionTracker) recordController(connection uint64, id string) {
	hash := maphash.String(t.seed, id) | 1 // Never 0.
	if earlier, ok := t.controllerByConnection.Get(connection); ok && earlier != hash {
		hash = 0
	}
	t.controllerByConnection.Add(connection, hash)
}

// isProxy reports whether a connection has calls of several controllers. An evicted connection counts as one.
func (t *connectionTracker) isProxy(connection uint64) bool {
	controller, ok := t.controllerByConnection.Get(connection)
	return !ok || controller == 0
}
