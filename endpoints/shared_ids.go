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
// them, and keeps the endpoint of the last one that registered even after that process stopped. The middleware compares the
// connections of comprehensive heartbeats and registrations over gRPC, the rare calls, so that fast heartbeats cost nothing. Each
// replica sees only its own connections.
//
// Two connections belong to two processes if they take turns and each of them brings a heartbeat in every interval. They also do if
// one of them continues after the other one registered the id with another endpoint. A connection with heartbeats of several
// controllers belongs to a proxy, and is not evidence.
func FindSharedIDs(interval time.Duration, now func() time.Time, onShared func(controllerID string)) Middleware {
	peers := newConnectionTracker(interval, now)
	return func(op Operation) endpoint.Middleware {
		return func(next endpoint.Endpoint) endpoint.Endpoint {
			if op.Name != "RegisterMC" && op.Name != "ComprehensiveHeartbeat" {
				return next
			}
			return func(ctx context.Context, request any) (any, error) {
				response, err := next(ctx, request)
				if err == nil && peers.record(CallFrom(ctx), request) {
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
func (p *connectionTracker) record(call *Call, request any) bool {
	address, ok := call.Connection.(*net.TCPAddr)
	if !ok || call.Transport != "grpc" {
		return false
	}
	connection := maphash.Comparable(p.seed, address.AddrPort())

	switch r := request.(type) {
	case Request[service.Registration]:
		if r.Value.Incarnation == "" {
			p.recordRegistration(r.Value.ControllerID, r.Value.GRPCEndpoint, connection)
		}
	case Request[service.ComprehensiveHeartbeat]:
		if r.Value.Incarnation == "" {
			return p.recordHeartbeat(r.Value.ControllerID, connection)
		}
	}
	return false
}

// recordRegistration records the endpoint of a registration.
func (p *connectionTracker) recordRegistration(id, endpoint string, connection uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()

	p.recordController(connection, id)
	pair := p.pairOf(id)
	hash := maphash.String(p.seed, endpoint) | 1 // Never 0.
	if pair.endpoint != 0 && pair.endpoint != hash {
		pair.movedAt = p.now()
		pair.movedBy = connection
	}
	pair.endpoint = hash
}

// recordHeartbeat records the connection of a heartbeat and reports whether another process uses the id as well.
func (p *connectionTracker) recordHeartbeat(id string, connection uint64) (isShared bool) {
	p.mu.Lock()
	defer p.mu.Unlock()

	now, pair := p.now(), p.pairOf(id)
	if connection == pair.last {
		isShared = pair.continuesAfterMove(pair.lastAt, connection, now) && !p.isProxy(connection) && !p.isProxy(pair.movedBy)
		pair.lastAt = now
		return isShared
	}

	if connection == pair.before && now.Sub(pair.beforeAt) <= p.interval*3/2 {
		pair.returns++
		isShared = pair.returns >= sharedAfterReturns || pair.continuesAfterMove(pair.beforeAt, connection, now)
		isShared = isShared && !p.isProxy(pair.last) && !p.isProxy(connection)
	} else {
		pair.returns = 0
		p.recordController(connection, id)
	}

	pair.before, pair.beforeAt = pair.last, pair.lastAt
	pair.last, pair.lastAt = connection, now
	return isShared
}

// continuesAfterMove reports whether a connection with a heartbeat at usedAt, before another connection registered the id with another
// endpoint, is still in use.
func (c *connectionPair) continuesAfterMove(usedAt time.Time, connection uint64, now time.Time) bool {
	return usedAt.Before(c.movedAt) && connection != c.movedBy && now.Sub(c.movedAt) > lateHeartbeatTime
}

// pairOf returns the connections of a controller.
func (p *connectionTracker) pairOf(id string) *connectionPair {
	pair, ok := p.pairs.Get(id)
	if !ok {
		pair = &connectionPair{}
		p.pairs.Add(id, pair)
	}
	return pair
}

// recordController records the controller of a connection.
func (p *connectionTracker) recordController(connection uint64, id string) {
	hash := maphash.String(p.seed, id) | 1 // Never 0.
	if earlier, ok := p.controllerByConnection.Get(connection); ok && earlier != hash {
		hash = 0
	}
	p.controllerByConnection.Add(connection, hash)
}

// isProxy reports whether a connection has calls of several controllers. An evicted connection counts as one.
func (p *connectionTracker) isProxy(connection uint64) bool {
	controller, ok := p.controllerByConnection.Get(connection)
	return !ok || controller == 0
}
