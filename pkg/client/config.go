package client

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"time"

	"github.com/go-kit/log"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

const (
	defaultCallTimeout     = 10 * time.Second
	defaultShutdownTimeout = 10 * time.Second
	defaultFailoverAfter   = 3
	// maxLimit is the most meetings or participants that a Global Controller lets a controller have.
	maxLimit = math.MaxInt32
	maxName  = 255
)

// Load is what a controller carries now. What lies outside of the percents' range of 0 to 100 is moved to its border.
type Load struct {
	Meetings, Participants    uint32
	CPUPercent, MemoryPercent float32
}

// isIdle reports whether nothing is carried. Participants count as well, as the Global Controller counts them too before it
// shows a controller as drained.
func (l Load) isIdle() bool { return l.Meetings == 0 && l.Participants == 0 }

// Health is what a controller says of itself.
type Health int

// The zero value is healthy.
const (
	HealthHealthy Health = iota
	HealthDegraded
	HealthUnhealthy
	HealthDraining
)

// Call is one attempt to call a Global Controller.
type Call struct {
	// Method is the name of the call, such as FastHeartbeat, without its service.
	Method string
	Code   codes.Code
	Began  time.Time
	Took   time.Duration
	// Stream tells that a heartbeat went over a stream.
	Stream bool
	// Err is nil when Code is OK.
	Err error
}

// Shutdown says how a client leaves.
type Shutdown struct {
	// WaitForMeetings is how long to wait at most until Load() has neither meetings nor participants, beating as draining;
	// 0: not at all.
	WaitForMeetings time.Duration
	// Deregister has the client leave the fleet; otherwise a last draining heartbeat says goodbye.
	Deregister bool
	// Timeout bounds the last calls, all of them together; 0: 10 s.
	Timeout time.Duration
}

// Config is what a client needs to know.
//
// Load, Health, OnEvent and OnCall are called by the goroutine that Run runs in, one at a time for each client, so they
// must not block: while they run no heartbeat is sent. Clients that share a function call it at the same time. A panic
// in one of them is not caught, as it is the application's own.
type Config struct {
	ControllerID, Region, GRPCEndpoint string
	// WebTransportEndpoint may be empty: none.
	WebTransportEndpoint string
	// MaxMeetings and MaxParticipants are at least 1.
	MaxMeetings, MaxParticipants uint32
	// Incarnation names this process among those that go by the same id, one after the other; empty: a random one.
	Incarnation string
	// Addresses are those of the Global Controllers, host:port, tried in turn. Not with Connection.
	Addresses []string
	// TLS is nil for plaintext. Not with Connection.
	TLS *tls.Config
	// DialOptions are added to those that gRPC connects with: a stats handler or interceptors that have a trace go out with
	// the calls, for one. Not with Connection.
	DialOptions []grpc.DialOption
	// Connection is shared by several clients, as an agent has them; nil: one of its own to Addresses.
	Connection *Connection
	// Tokens is required.
	Tokens TokenSource
	// Load is required. It is called for each heartbeat, and each second while a shutdown waits for meetings and
	// participants.
	Load func() Load
	// Health is called for each heartbeat; nil: always healthy.
	Health func() Health
	// OnEvent is told what happens; nil: nobody.
	OnEvent func(Event)
	// OnCall is told of each attempt; nil: nobody.
	OnCall func(Call)
	// Metrics may be shared by the clients of a process; nil: none.
	Metrics *Metrics
	// Logger is nil for none.
	Logger log.Logger
	// NoStream has heartbeats sent as unary calls only.
	NoStream bool
	// FailoverAfter is how many attempts in a row may fail at one address before the client goes on at the next; 0: 3. An
	// attempt that found no answer in time, a second one that was answered UNAVAILABLE, and a connection that broke have the
	// client go on at once. NOT_FOUND, FAILED_PRECONDITION and INVALID_ARGUMENT are answers and no failures.
	FailoverAfter int
	// CallTimeout bounds each attempt; 0: 10 s.
	CallTimeout time.Duration
	Shutdown    Shutdown
}

// validate names the first thing that is wrong. The Global Controller checks more, and knows better.
func (c *Config) validate() error {
	switch {
	case !validName(c.ControllerID, maxName):
		return errors.New("ControllerID must be 1 to 255 letters, digits, '-' and '_'")
	case c.Region == "":
		return errors.New("region is required")
	case c.GRPCEndpoint == "":
		return errors.New("GRPCEndpoint is required")
	case c.MaxMeetings < 1 || c.MaxMeetings > maxLimit:
		return fmt.Errorf("MaxMeetings must be 1 to %d", maxLimit)
	case c.MaxParticipants < 1 || c.MaxParticipants > maxLimit:
		return fmt.Errorf("MaxParticipants must be 1 to %d", maxLimit)
	case c.Incarnation != "" && !validName(c.Incarnation, 64):
		return errors.New("incarnation must be at most 64 letters, digits, '-' and '_'")
	case c.Tokens == nil:
		return errors.New("tokens is required")
	case c.Load == nil:
		return errors.New("load is required")
	case c.CallTimeout < 0 || c.Shutdown.Timeout < 0 || c.Shutdown.WaitForMeetings < 0:
		return errors.New("a time must not be negative")
	case c.FailoverAfter < 0:
		return errors.New("FailoverAfter must not be negative")
	case c.Connection != nil && (len(c.Addresses) > 0 || c.TLS != nil || len(c.DialOptions) > 0):
		return errors.New("a Connection has addresses, TLS and options of its own: give no Addresses, TLS and DialOptions with it")
	case c.Connection == nil:
		return validAddresses(c.Addresses)
	}
	return nil
}

func validAddresses(addresses []string) error {
	if len(addresses) == 0 {
		return errors.New("at least one address is required")
	}
	for _, address := range addresses {
		if _, port, err := net.SplitHostPort(address); err != nil || port == "" || strings.Contains(address, "/") {
			return fmt.Errorf("the address %q is not host:port", address)
		}
	}
	return nil
}

func validName(name string, most int) bool {
	if name == "" || len(name) > most {
		return false
	}
	for _, r := range name {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
		default:
			return false
		}
	}
	return true
}
