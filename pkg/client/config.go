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
	// maxCapacity is the largest number of meetings or participants that a Global Controller accepts.
	maxCapacity          = math.MaxInt32
	maxNameLength        = 255
	maxIncarnationLength = 64
)

// Load is the current load of a controller. Percentages outside of 0 to 100 are sent as 0 or 100.
type Load struct {
	Meetings, Participants    uint32
	CPUPercent, MemoryPercent float32
}

// isIdle reports whether the controller has no meetings and no participants. The Global Controller also counts both before
// it shows a controller as drained.
func (l Load) isIdle() bool { return l.Meetings == 0 && l.Participants == 0 }

// Health is the state that a controller reports about itself.
type Health int

// The zero value is healthy.
const (
	HealthHealthy Health = iota
	HealthDegraded
	HealthUnhealthy
	HealthDraining
)

// Call describes one attempt to call a Global Controller.
type Call struct {
	// Method is the name of the RPC without its service, such as FastHeartbeat.
	Method string
	Code   codes.Code
	Began  time.Time
	Took   time.Duration
	// Stream is true if the heartbeat was sent over a stream.
	Stream bool
	// Err is nil if Code is OK.
	Err error
}

// Shutdown configures what a client does when the context of Run ends.
type Shutdown struct {
	// WaitForMeetings is the longest time to wait until Load returns neither meetings nor participants. Meanwhile heartbeats
	// report draining. 0: do not wait.
	WaitForMeetings time.Duration
	// Deregister removes the controller from the fleet. If false, the last call is a heartbeat that reports draining.
	Deregister bool
	// Timeout limits the duration of all final calls together. 0: 10 s.
	Timeout time.Duration
}

// Config configures a client.
//
// Load, Health, OnEvent and OnCall are called from the goroutine of Run, one at a time for each client. They must not
// block: no heartbeat is sent while they run. If several clients share a function, it is called concurrently. The client
// does not recover their panics.
type Config struct {
	// ControllerID is 1 to 255 letters, digits, '-' and '_'.
	ControllerID string
	Region       string
	// GRPCEndpoint is the URL at which the Global Controller reaches the meeting controller.
	GRPCEndpoint string
	// WebTransportEndpoint is optional.
	WebTransportEndpoint string
	// MaxMeetings and MaxParticipants are the capacity, each at least 1.
	MaxMeetings, MaxParticipants uint32
	// Incarnation distinguishes this process from others with the same controller id. Empty: a random UUID.
	Incarnation string

	// Addresses are those of the Global Controllers, as host:port, in the order in which they are tried. Not with Connection.
	Addresses []string
	// TLS is nil for plaintext. Not with Connection.
	TLS *tls.Config
	// DialOptions are added to the options that gRPC connects with, for example a stats handler or interceptors that
	// propagate traces. Not with Connection.
	DialOptions []grpc.DialOption
	// Connection is a connection that several clients share. Nil: the client opens its own to Addresses.
	Connection *Connection
	// Tokens is required.
	Tokens TokenSource

	// Load is required. It is called for each heartbeat, and each second while a shutdown waits for meetings and
	// participants.
	Load func() Load
	// Health is called for each heartbeat. Nil: always healthy.
	Health func() Health
	// OnEvent is called for each event. Nil: events are dropped.
	OnEvent func(Event)
	// OnCall is called after each attempt. Nil: attempts are not reported.
	OnCall func(Call)
	// Metrics may be shared by all clients of a process. Nil: no metrics.
	Metrics *Metrics
	// Logger receives log lines. Nil: no log.
	Logger log.Logger

	// NoStream disables heartbeat streams: all heartbeats are unary calls.
	NoStream bool
	// FailoverAfter is how many attempts in a row may fail at one address before the client switches to the next. 0: 3.
	// The client switches at once after a timeout, a second UNAVAILABLE in a row, or a broken connection. The responses
	// NOT_FOUND, FAILED_PRECONDITION and INVALID_ARGUMENT do not count as failures.
	FailoverAfter int
	// CallTimeout limits the duration of each attempt. 0: 10 s.
	CallTimeout time.Duration
	Shutdown    Shutdown
}

// validate returns an error that names the first invalid field. The Global Controller validates the rest.
func (c *Config) validate() error {
	if err := c.validateController(); err != nil {
		return err
	}

	switch {
	case c.Tokens == nil:
		return errors.New("Tokens is required") //nolint:staticcheck // The name of the field.
	case c.Load == nil:
		return errors.New("Load is required")
	case c.CallTimeout < 0 || c.Shutdown.Timeout < 0 || c.Shutdown.WaitForMeetings < 0:
		return errors.New("CallTimeout, Shutdown.Timeout and Shutdown.WaitForMeetings must not be negative")
	case c.FailoverAfter < 0:
		return errors.New("FailoverAfter must not be negative")
	case c.Connection != nil && (len(c.Addresses) > 0 || c.TLS != nil || len(c.DialOptions) > 0):
		return errors.New("a Connection excludes Addresses, TLS and DialOptions: pass them to NewConnection")
	case c.Connection == nil:
		return validateAddresses(c.Addresses)
	}
	return nil
}

// validateController validates the fields that describe the controller.
func (c *Config) validateController() error {
	switch {
	case !isValidName(c.ControllerID, maxNameLength):
		return errors.New("ControllerID must be 1 to 255 letters, digits, '-' and '_'")
	case c.Region == "":
		return errors.New("Region is required") //nolint:staticcheck // The name of the field.
	case c.GRPCEndpoint == "":
		return errors.New("GRPCEndpoint is required")
	case c.MaxMeetings < 1 || c.MaxMeetings > maxCapacity:
		return fmt.Errorf("MaxMeetings must be 1 to %d", maxCapacity)
	case c.MaxParticipants < 1 || c.MaxParticipants > maxCapacity:
		return fmt.Errorf("MaxParticipants must be 1 to %d", maxCapacity)
	case c.Incarnation != "" && !isValidName(c.Incarnation, maxIncarnationLength):
		return errors.New("Incarnation must be at most 64 letters, digits, '-' and '_'")
	}
	return nil
}

func validateAddresses(addresses []string) error {
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

func isValidName(name string, maxLength int) bool {
	if name == "" || len(name) > maxLength {
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
