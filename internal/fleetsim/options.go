package fleetsim

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"time"

	"darktower.example/global-controller/pkg/devauth"
)

// Options configure a run of the simulator.
type Options struct {
	// Controllers, Connections and Regions are the size of the fleet.
	Controllers int
	Connections int
	Regions     int
	// Parallel is how many scenarios run at once, each in its own environment.
	Parallel int
	Timing   Timing
	// Duration is how long the fleet runs without a fault. That is the whole of scenario steady, and the start of all others.
	// 0 is the shortest time in which the steady rate can be measured. Less is refused.
	Duration time.Duration
	// Ramp is the time over which the fleet starts. 0 is 2 ms for each controller, at least a fast interval.
	Ramp time.Duration
	// Seed is that of the random choice of controllers.
	Seed uint64
	// Store is sqlite or postgres.
	Store string
	// Database is the URL of a PostgreSQL server, on which databases are created. If empty, a temporary server is started.
	Database string
	// GlobalController starts a Global Controller.
	GlobalController Command
	// Existing is a Global Controller that runs already. If nil, each scenario starts its own.
	Existing *Existing
	// Out receives the progress. Terminal is set if it can be redrawn.
	Out      io.Writer
	Terminal bool
	// TableOut receives the verdicts.
	TableOut io.Writer
}

// Existing is a Global Controller that the simulator has not started.
type Existing struct {
	Address string
	TLS     *tls.Config // nil for plaintext
	// AuthControllerURL is the base address of its auth controller. If empty, ControllerToken and ReadToken are used.
	AuthControllerURL string
	// ControllerClient and ReaderClient are OAuth clients. Only their ids and secrets are used.
	ControllerClient devauth.Client
	ReaderClient     devauth.Client

	ControllerToken devauth.Secret
	ReadToken       devauth.Secret
}

// Validate sets the defaults of fields that are zero. It returns an error that names the first invalid flag.
func (o *Options) Validate() error {
	o.Timing.Complete(QuickFast)
	if o.Ramp == 0 {
		o.Ramp = max(o.Timing.Fast, time.Duration(o.Controllers)*2*time.Millisecond)
	}

	switch {
	case o.Controllers < 1 || o.Controllers > 100_000:
		return fmt.Errorf("--mcs is %d: allowed is 1 to 100000", o.Controllers)
	case o.Connections < 1 || o.Connections > 10_000:
		return fmt.Errorf("--connections is %d: allowed is 1 to 10000", o.Connections)
	case o.Regions < 1 || o.Regions > 100:
		return fmt.Errorf("--regions is %d: allowed is 1 to 100", o.Regions)
	case o.Parallel < 1 || o.Parallel > 100:
		return fmt.Errorf("--parallel is %d: allowed is 1 to 100", o.Parallel)
	case o.Store != "sqlite" && o.Store != "postgres":
		return fmt.Errorf("--store is %q: allowed is sqlite or postgres", o.Store)
	case o.Database != "" && o.Store != "postgres":
		return errors.New("--database is the URL of a PostgreSQL server: use it with --store postgres")
	case o.Duration < 0 || o.Ramp < 0:
		return errors.New("--duration and --ramp must not be negative")
	case o.Duration > 0 && o.Duration < o.Timing.steadySpan():
		return fmt.Errorf("--duration is %v: at least 4 × --fast, %v", o.Duration, o.Timing.steadySpan())
	case o.Timing.Fast < 100*time.Millisecond || o.Timing.Comprehensive < o.Timing.Fast:
		return fmt.Errorf("--fast is %v and --comprehensive is %v: allowed is 100ms or more, and --comprehensive at least --fast",
			o.Timing.Fast, o.Timing.Comprehensive)
	case o.Timing.Threshold%time.Second != 0 || o.Timing.Threshold <= o.Timing.minThreshold():
		return fmt.Errorf("--threshold is %v: allowed are whole seconds, more than twice --fast and 2.5s (%v)",
			o.Timing.Threshold, o.Timing.minThreshold())
	}
	return nil
}

// regionNames returns the regions of the demo, followed by numbered ones.
func (o *Options) regionNames() []string {
	names := []string{"us-east-1", "eu-west-1", "ap-south-1"}
	for i := len(names); i < o.Regions; i++ {
		names = append(names, fmt.Sprintf("region-%d", i+1))
	}
	return names[:o.Regions]
}
