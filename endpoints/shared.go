package endpoints

import (
	"context"
	"hash/maphash"
	"net"
	"net/netip"
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
	// startTime is how long after its registration a process may still use the connection that it had before.
	startTime = 2 * time.Second
)

// FindSharedIDs reports controllers' ids under which two processes report that name no incarnation: the store cannot tell
// them apart, and keeps the endpoint of the last one that registered even after it died. It compares the connections of
// comprehensive heartbeats and registrations over gRPC, the rare calls, so that fast heartbeats cost nothing. Each replica
// sees its own connections only.
//
// Two connections belong to two processes if they take turns and each of them brings a heartbeat in every interval. A
// connection that speaks for several controllers is that of a proxy, and says nothing about processes.
func FindSharedIDs(interval time.Duration, now func() time.Time, onShared func(controllerID string)) Middleware {
	peers := newPeers(interval, now)
	return func(op Operation) endpoint.Middleware {
		return func(next endpoint.Endpoint) endpoint.Endpoint {
			if op.Name != "RegisterMC" && op.Name != "ComprehensiveHeartbeat" {
				return next
			}
			return func(ctx context.Context, request any) (any, error) {
				response, err := next(ctx, request)
				if err != nil || incarnationOf(request) != "" {
					return response, err
				}
				call := CallFrom(ctx)
				if address, ok := call.Connection.(*net.TCPAddr); ok && call.Transport == "grpc" {
					if id := controllerID(request); peers.shares(id, address.AddrPort(), op.Name == "RegisterMC") {
						onShared(id)
					}
				}
				return response, err
			}
		}
	}
}

func incarnationOf(request any) string {
	switch r := request.(type) {
	case Request[service.Registration]:
		return r.Value.Incarnation
	case Request[service.ComprehensiveHeartbeat]:
		return r.Value.Incarnation
	default:
		return ""
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
	since            time.Time // When last took its turn.
	registered       bool      // It did so with a registration.
	returns          int       // How often in a row the one before came back.
}

func newPeers(interval time.Duration, now func() time.Time) *peers {
	// They fail for a size of 0 only.
	known, _ := lru.New[string, *speakers](rememberedIDs)
	spoken, _ := lru.New[uint64, uint64](rememberedIDs)
	return &peers{interval: interval, now: now, seed: maphash.MakeSeed(), speakers: known, spoken: spoken}
}

// shares notes a call and reports whether it shows that two processes use the controller's id.
func (p *peers) shares(id string, address netip.AddrPort, registers bool) bool {
	connection, now := maphash.Comparable(p.seed, address), p.now()
	p.mu.Lock()
	defer p.mu.Unlock()

	s, ok := p.speakers.Get(id)
	if !ok {
		p.speakers.Add(id, &speakers{last: connection, lastAt: now, since: now, registered: registers})
		p.note(connection, id)
		return false
	}
	if connection == s.last {
		s.lastAt = now
		return false
	}

	shared := false
	if connection == s.before && now.Sub(s.beforeAt) <= p.interval*3/2 {
		s.returns++
		afterRegistration := s.registered && !registers && now.Sub(s.since) > startTime
		shared = (s.returns >= enoughReturns || afterRegistration) && !p.isProxy(s.last) && !p.isProxy(connection)
	} else {
		s.returns = 0
		p.note(connection, id)
	}
	s.before, s.beforeAt = s.last, s.lastAt
	s.last, s.lastAt, s.since, s.registered = connection, now, now, registers

	return shared
}

// note remembers which controller a connection speaks for.
func (p *peers) note(connection uint64, id string) {
	speaksFor := maphash.String(p.seed, id) | 1 // Never 0.
	if known, ok := p.spoken.Get(connection); ok && known != speaksFor {
		speaksFor = 0
	}
	p.spoken.Add(connection, speaksFor)
}

func (p *peers) isProxy(connection uint64) bool {
	speaksFor, ok := p.spoken.Get(connection)
	return !ok || speaksFor == 0
}
