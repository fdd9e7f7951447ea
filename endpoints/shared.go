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
// controllers is that of a proxy, and says nothing about processes.
func FindSharedIDs(interval time.Duration, now func() time.Time, onShared func(controllerID string)) Middleware {
	peers := newPeers(interval, now)
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

// peers remembers over which connections controllers report.
type peers struct {
	interval time.Duration
	now      func() time.Time
	seed     maphash.Seed

	mu sync.Mutex
	// speakers are the two connections that a controller used last.
	speakers *lru.Cache[string, *speakers]
	// spoken is which controller a connection speaks for, 0 for several; both as hashes.
	spoken *lru.Cache[uint64, uint64]
}

// speakers are the connections of one controller.
type speakers struct {
	last, before     uint64
	lastAt, beforeAt time.Time
	returns          int // How often in a row the one before came back.

	endpoint uint64 // Of the last registration; 0: unknown.
	// movedAt is when it became another one, and movedBy the connection of that registration.
	movedAt time.Time
	movedBy uint64
}

func newPeers(interval time.Duration, now func() time.Time) *peers {
	// They fail for a size of 0 only.
	held, _ := lru.New[string, *speakers](rememberedIDs)
	spoken, _ := lru.New[uint64, uint64](rememberedIDs)
	return &peers{interval: interval, now: now, seed: maphash.MakeSeed(), speakers: held, spoken: spoken}
}

// note notes a call that succeeded and reports whether it shows that two processes use the controller's id.
func (p *peers) note(call *Call, request any) bool {
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

func (p *peers) noteRegistration(id, endpoint string, connection uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()

	p.noteSpeaker(connection, id)
	s := p.speakersOf(id)
	hash := maphash.String(p.seed, endpoint) | 1 // Never 0.
	if s.endpoint != 0 && s.endpoint != hash {
		s.movedAt, s.movedBy = p.now(), connection
	}
	s.endpoint = hash
}

func (p *peers) noteHeartbeat(id string, connection uint64) (shared bool) {
	p.mu.Lock()
	defer p.mu.Unlock()

	now, s := p.now(), p.speakersOf(id)
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
		p.noteSpeaker(connection, id)
	}
	s.before, s.beforeAt = s.last, s.lastAt
	s.last, s.lastAt = connection, now

	return shared
}

func (p *peers) speakersOf(id string) *speakers {
	s, ok := p.speakers.Get(id)
	if !ok {
		s = &speakers{}
		p.speakers.Add(id, s)
	}
	return s
}

// noteSpeaker remembers which controller a connection speaks for.
func (p *peers) noteSpeaker(connection uint64, id string) {
	speaksFor := maphash.String(p.seed, id) | 1 // Never 0.
	if earlier, ok := p.spoken.Get(connection); ok && earlier != speaksFor {
		speaksFor = 0
	}
	p.spoken.Add(connection, speaksFor)
}

func (p *peers) isProxy(connection uint64) bool {
	speaksFor, ok := p.spoken.Get(connection)
	return !ok || speaksFor == 0
}
