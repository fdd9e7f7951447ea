package fleetsim

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"darktower.example/global-controller/pkg/client"
)

// maxMeetings is more than a controller that counts its heartbeats as meetings will ever have.
const maxMeetings = 1_000_000_000

// MC is a simulated meeting controller. Its processes come and go, one at a time; it goes by the same id.
type MC struct {
	ID, Region string
	world      *World
	connection *client.Connection
	tokens     *tokens
	// shutdown is how its next processes leave when they are ended well.
	shutdown client.Shutdown

	mu sync.Mutex
	// life is the process that runs; nil: none does.
	life *life
	// sent and acked are the load of the last heartbeat that was sent, and of the last that was acknowledged. Each
	// heartbeat has one meeting more than the one before, so that what is in the store tells which it was.
	sent, acked uint32
	lastAck     time.Time
	// cutOff is when a heartbeat was last given up before its answer came: it may have been stored.
	cutOff time.Time
	// marked is since when firstAck waits for an acknowledged heartbeat.
	marked, firstAck time.Time
	silences         []silence
	incarnation      string
}

// life is one process of a controller.
type life struct {
	cancel context.CancelCauseFunc
	ended  chan struct{}
	err    error // what Run returned, once ended is closed
}

// silence is a time in which a controller could not be heard, through no fault of the Global Controller's: to is zero
// while it lasts.
type silence struct{ from, to time.Time }

// Begin starts a process.
func (m *MC) Begin() error {
	c, err := client.New(client.Config{
		ControllerID: m.ID, Region: m.Region, GRPCEndpoint: "http://" + m.ID + ".example:50052", WebTransportEndpoint: "https://" + m.ID + ".example:4433",
		MaxMeetings: maxMeetings, MaxParticipants: maxMeetings, Connection: m.connection, Tokens: m.tokens,
		Load: m.load, OnCall: m.called, Shutdown: m.shutdown,
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", m.ID, err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	l := &life{cancel: cancel, ended: make(chan struct{})}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.life != nil {
		cancel(nil)
		return fmt.Errorf("start %s: it runs already", m.ID)
	}
	m.life, m.incarnation = l, c.Incarnation()
	m.heardLocked()
	go func() {
		defer close(l.ended)
		defer cancel(nil)
		l.err = c.Run(ctx)
	}()
	return nil
}

// End has the process shut down as it should, and returns when it has.
func (m *MC) End() error { return m.end(nil) }

// Abandon ends the process as a crash does.
func (m *MC) Abandon() error { return m.end(client.ErrAbandon) }

func (m *MC) end(cause error) error {
	m.mu.Lock()
	l := m.life
	m.life = nil
	if l != nil {
		m.silences = append(m.silences, silence{from: time.Now()})
	}
	m.mu.Unlock()
	if l == nil {
		return nil
	}
	l.cancel(cause)
	<-l.ended
	if l.err != nil && !errors.Is(l.err, client.ErrSuperseded) {
		return fmt.Errorf("end %s: %w", m.ID, l.err)
	}
	return nil
}

// Silenced notes that the controller cannot be heard from now on, though its process runs.
func (m *MC) Silenced() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.silences = append(m.silences, silence{from: time.Now()})
}

// Heard ends what Silenced began.
func (m *MC) Heard() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.heardLocked()
}

func (m *MC) heardLocked() {
	for i := range m.silences {
		if m.silences[i].to.IsZero() {
			m.silences[i].to = time.Now()
		}
	}
}

// mayDie tells whether it is right to call the controller stale at a time.
func (m *MC) mayDie(at time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.silences {
		// One that is heard again is not stale from its next heartbeat on, which takes a moment.
		if at.After(s.from) && (s.to.IsZero() || at.Before(s.to.Add(m.world.Timing.heard()))) {
			return true
		}
	}
	return false
}

// Mark has FirstAck wait for the next acknowledged heartbeat.
func (m *MC) Mark(at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.marked, m.firstAck = at, time.Time{}
}

// FirstAck is when the first heartbeat since Mark was acknowledged, zero for not yet.
func (m *MC) FirstAck() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.firstAck
}

// LastAck is when the last heartbeat was acknowledged, and which it was.
func (m *MC) LastAck() (at time.Time, load uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lastAck, m.acked
}

// LastSent is when the last heartbeat may have been stored: it was acknowledged, or nobody waited for its answer.
func (m *MC) LastSent() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cutOff.After(m.lastAck) {
		return m.cutOff
	}
	return m.lastAck
}

// Running tells whether a process runs.
func (m *MC) Running() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.life == nil {
		return false
	}
	select {
	case <-m.life.ended:
		return false
	default:
		return true
	}
}

// Superseded tells whether the process has ended because another took its place.
func (m *MC) Superseded() bool {
	m.mu.Lock()
	l := m.life
	m.mu.Unlock()
	if l == nil {
		return false
	}
	select {
	case <-l.ended:
		return errors.Is(l.err, client.ErrSuperseded)
	default:
		return false
	}
}

// Incarnation names the process that was started last.
func (m *MC) Incarnation() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.incarnation
}

func (m *MC) load() client.Load {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent++
	return client.Load{Meetings: m.sent, Participants: 5 * m.sent, CPUPercent: 30, MemoryPercent: 40}
}

// called is told of each call. A client makes one at a time, so what was acknowledged is what was sent last.
func (m *MC) called(c client.Call) {
	heartbeat := c.Method == "FastHeartbeat" || c.Method == "ComprehensiveHeartbeat"
	if heartbeat || c.Method == "RegisterMC" {
		m.world.Series.Add(heartbeat, c.Code, c.Began, c.Took)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if heartbeat && c.Code != codes.OK {
		m.cutOff = now
	}
	if !heartbeat || c.Code != codes.OK {
		return
	}
	m.lastAck, m.acked = now, m.sent
	if m.firstAck.IsZero() && !m.marked.IsZero() && now.After(m.marked) {
		m.firstAck = now
	}
}
