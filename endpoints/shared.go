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
	// rememberedIDs bounds how many controllers, and connections, are compared. In a larger fleet nothing is found.
	rememberedIDs = 1 << 17
	// enoughReturns is how often in a row two connections take turns before they count as two processes.
	enoughReturns = 2
	// startTime is how long after a registration heartbeats from before may still arrive.
	startTime = 2 * time.Second
)

// FindSharedIDs calls onShared for each controller id that two processes without an incarnation use. The store cannot
// distinguish them, and keeps the endpoint of the last one that registered even after that process stopped. It compares the connections of
// comprehensive heartbeats and registrations over gRPC, the rare calls, so that fast heartbeats cost nothing. Each replica
// sees its own connections only.
//
// Two connections belong to two processes if they take turns and each of them brings a heartbeat in every interval. So does
// a connection that goes on after another one registered the id with another endpoint. A connection that speaks for several
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
				if err == nil && peers.note(CallFrom(ctx), request) {
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
	// pairs has the two connections that each controller used last.
	pairs *lru.Cache[string, *connectionPair]
	// controllerByConnection has the controller of each connection, 0 for several; both as hashes.
	controllerByConnection *lru.Cache[uint64, uint64]
}

// connectionPair has the last two connections of one controller.
type connectionPair struct {
	last, before     uint64
	lastAt, beforeAt time.Time
	returns          int // How often in a row the one before came back.

	endpoint uint64 // Of the last registration; 0: unknown.
	// movedAt is when it became another one, and movedBy the connection of that registration.
	movedAt time.Time
	movedBy uint64
}

func newConnectionTracker(interval time.Duration, now func() time.Time) *connectionTracker {
	// They fail for a size of 0 only.
	held, _ := lru.New[string, *connectionPair](rememberedIDs)
	spoken, _ := lru.New[uint64, uint64](rememberedIDs)
	return &connectionTracker{interval: interval, now: now, seed: maphash.MakeSeed(), pairs: held, controllerByConnection: spoken}
}

// note records a call that succeeded and reports whether it shows that two processes use the controller's id.
func (p *connectionTracker) note(call *Call, request any) bool {
	address, ok := call.Connection.(*net.TCPAddr)
	if !ok || call.Transport != "grpc" {
		return false
	}
	connection := maphash.Comparable(p.seed, address.AddrPort())

	switch r := request.(type) {
	case Request[service.Registration]:
		if r.Value.Incarnation == "" {
			p.noteRegistration(r.Value.ControllerID, r.Value.GRPCEndpoint, connection)
		}
	case Request[service.ComprehensiveHeartbeat]:
		if r.Value.Incarnation == "" {
			return p.noteHeartbeat(r.Value.ControllerID, connection)
		}
	}
	return false
}

func (p *connectionTracker) noteRegistration(id, endpoint string, connection uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()

	p.noteController(connection, id)
	s := p.pairOf(id)
	hash := maphash.String(p.seed, endpoint) | 1 // Never 0.
	if s.endpoint != 0 && s.endpoint != hash {
		s.movedAt, s.movedBy = p.now(), connection
	}
	s.endpoint = hash
}

func (p *connectionTracker) noteHeartbeat(id string, connection uint64) (shared bool) {
	p.mu.Lock()
	defer p.mu.Unlock()

	now, s := p.now(), p.pairOf(id)
	if connection == s.last {
		// It spoke before another one registered the id with another endpoint, and goes on.
		shared = s.lastAt.Before(s.movedAt) && connection != s.movedBy && now.Sub(s.movedAt) > startTime &&
			!p.isProxy(connection) && !p.isProxy(s.movedBy)
		s.lastAt = now
		return shared
	}

	if connection == s.before && now.Sub(s.beforeAt) <= p.interval*3/2 {
		s.returns++
		shared = s.returns >= enoughReturns || s.beforeAt.Before(s.movedAt) && connection != s.movedBy && now.Sub(s.movedAt) > startTime
		shared = shared && !p.isProxy(s.last) && !p.isProxy(connection)
	} else {
		s.returns = 0
		p.noteController(connection, id)
	}
	s.before, s.beforeAt = s.last, s.lastAt
	s.last, s.lastAt = connection, now

	return shared
}

func (p *connectionTracker) pairOf(id string) *connectionPair {
	s, ok := p.pairs.Get(id)
	if !ok {
		s = &connectionPair{}
		p.pairs.Add(id, s)
	}
	return s
}

// noteController records the controller of a connection.
func (p *connectionTracker) noteController(connection uint64, id string) {
	hash := maphash.String(p.seed, id) | 1 // Never 0.
	if earlier, ok := p.controllerByConnection.Get(connection); ok && earlier != hash {
		hash = 0
	}
	p.controllerByConnection.Add(connection, hash)
}

func (p *connectionTracker) isProxy(connection uint64) bool {
	speaksFor, ok := p.controllerByConnection.Get(connection)
	return !ok || speaksFor == 0
}
