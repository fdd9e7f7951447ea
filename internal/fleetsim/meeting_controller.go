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

// maxMeetings exceeds the meetings that a controller ever reports, which are as many as it has sent heartbeats.
const maxMeetings = 1_000_000_000

// meetingController is a simulated meeting controller. It runs one process at a time, each with the same controller id.
type meetingController struct {
	ID     string
	Region string

	env        *Environment
	connection *client.Connection
	tokens     *tokenSource
	// shutdown is how its next processes end when they are stopped.
	shutdown client.Shutdown

	mu          sync.Mutex
	process     *controllerProcess // nil while none runs
	incarnation string             // of the last process
	// sentLoad and acknowledgedLoad are the meetings in the last heartbeat that was sent and in the last that was
	// acknowledged. Each heartbeat reports one meeting more than the one before, so the stored load identifies it.
	sentLoad         uint32
	acknowledgedLoad uint32
	acknowledgedAt   time.Time
	// failedAt is the time of the last failed heartbeat. It may have been stored anyway.
	failedAt time.Time
	// firstAck is when the first heartbeat after firstAckSince was acknowledged.
	firstAckSince time.Time
	firstAck      time.Time
	pauses        []heartbeatPause
}

// controllerProcess is one process of a controller.
type controllerProcess struct {
	cancel context.CancelCauseFunc
	ended  chan struct{}
	err    error // the result of Run, valid when ended is closed
}

func (p *controllerProcess) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// heartbeatPause is a time in which the scenario prevents a controller's heartbeats. While it lasts, to is zero.
type heartbeatPause struct{ from, to time.Time }

// Start starts a process.
func (m *meetingController) Start() error {
	c, err := client.New(client.Config{
		ControllerID:         m.ID,
		Region:               m.Region,
		GRPCEndpoint:         "http://" + m.ID + ".example:50052",
		WebTransportEndpoint: "https://" + m.ID + ".example:4433",
		MaxMeetings:          maxMeetings,
		MaxParticipants:      maxMeetings,
		Connection:           m.connection,
		Tokens:               m.tokens,
		Load:                 m.nextLoad,
		OnCall:               m.recordCall,
		Shutdown:             m.shutdown,
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", m.ID, err)
	}

	ctx, cancel := context.WithCancelCause(context.Background())
	p := &controllerProcess{cancel: cancel, ended: make(chan struct{})}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process != nil {
		cancel(nil)
		return fmt.Errorf("start %s: it runs already", m.ID)
	}
	m.process = p
	m.incarnation = c.Incarnation()
	m.endPausesLocked()

	go func() {
		defer close(p.ended)
		defer cancel(nil)
		p.err = c.Run(ctx)
	}()
	return nil
}

// Stop shuts the process down in the regular way, and returns when it has ended.
func (m *meetingController) Stop() error { return m.endProcess(nil) }

// Crash ends the process as a crash does: without a last call to the Global Controller.
func (m *meetingController) Crash() error { return m.endProcess(client.ErrAbandon) }

func (m *meetingController) endProcess(cause error) error {
	m.mu.Lock()
	p := m.process
	m.process = nil
	if p != nil {
		m.pauses = append(m.pauses, heartbeatPause{from: time.Now()})
	}
	m.mu.Unlock()
	if p == nil {
		return nil
	}

	p.cancel(cause)
	<-p.ended
	if p.err != nil && !errors.Is(p.err, client.ErrSuperseded) {
		return fmt.Errorf("stop %s: %w", m.ID, p.err)
	}
	return nil
}

// BeginHeartbeatPause records that from now on no heartbeat of the controller can arrive although its process runs.
func (m *meetingController) BeginHeartbeatPause() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pauses = append(m.pauses, heartbeatPause{from: time.Now()})
}

// EndHeartbeatPause ends what BeginHeartbeatPause began.
func (m *meetingController) EndHeartbeatPause() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.endPausesLocked()
}

func (m *meetingController) endPausesLocked() {
	for i := range m.pauses {
		if m.pauses[i].to.IsZero() {
			m.pauses[i].to = time.Now()
		}
	}
}

// mayBeStale reports whether the Global Controller may mark the controller stale at a time.
func (m *meetingController) mayBeStale(at time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.pauses {
		// After a pause the controller remains stale until its next heartbeat.
		if at.After(p.from) && (p.to.IsZero() || at.Before(p.to.Add(m.env.Timing.heartbeatLimit()))) {
			return true
		}
	}
	return false
}

// ResetFirstAck makes FirstAck return the first heartbeat that is acknowledged after a time.
func (m *meetingController) ResetFirstAck(since time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.firstAckSince = since
	m.firstAck = time.Time{}
}

// FirstAck returns when the first heartbeat since ResetFirstAck was acknowledged; zero if none was.
func (m *meetingController) FirstAck() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.firstAck
}

// AcknowledgedLoad returns the meetings in the last heartbeat that was acknowledged; 0 if none was.
func (m *meetingController) AcknowledgedLoad() uint32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.acknowledgedLoad
}

// LastStored returns when the last heartbeat may have been stored: it was acknowledged, or its outcome is unknown.
func (m *meetingController) LastStored() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failedAt.After(m.acknowledgedAt) {
		return m.failedAt
	}
	return m.acknowledgedAt
}

// IsRunning reports whether a process runs.
func (m *meetingController) IsRunning() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.process != nil && !m.process.hasEnded()
}

// IsSuperseded reports whether the process has ended because another one has registered with its id.
func (m *meetingController) IsSuperseded() bool {
	m.mu.Lock()
	p := m.process
	m.mu.Unlock()
	return p != nil && p.hasEnded() && errors.Is(p.err, client.ErrSuperseded)
}

// Incarnation identifies the process that was started last.
func (m *meetingController) Incarnation() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.incarnation
}

func (m *meetingController) nextLoad() client.Load {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sentLoad++
	return client.Load{Meetings: m.sentLoad, Participants: 5 * m.sentLoad, CPUPercent: 30, MemoryPercent: 40}
}

// recordCall is called after each call. A client makes one call at a time, so an acknowledged load is the last one sent.
func (m *meetingController) recordCall(c client.Call) {
	isHeartbeat := c.Method == "FastHeartbeat" || c.Method == "ComprehensiveHeartbeat"
	if isHeartbeat || c.Method == "RegisterMC" {
		m.env.Series.Record(isHeartbeat, c.Code, c.Began, c.Took)
	}
	if !isHeartbeat {
		return
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if c.Code != codes.OK {
		m.failedAt = now
		return
	}
	m.acknowledgedAt = now
	m.acknowledgedLoad = m.sentLoad
	if m.firstAck.IsZero() && !m.firstAckSince.IsZero() && now.After(m.firstAckSince) {
		m.firstAck = now
	}
}
