package fleetsim

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"time"

	"darktower.example/global-controller/pkg/devauth"
)

// Options say what is simulated and where.
type Options struct {
	MCs, Connections, Regions int
	// Parallel is how many scenarios are played at once, each in a world of its own.
	Parallel int
	Timing   Timing
	// Duration is how long the fleet is watched while nothing happens, in scenario steady and before all others. 0 means
	// so long as it takes to know the steady rate; less is refused.
	Duration time.Duration
	// Ramp is over what time the fleet starts; 0: 500 controllers a second, and no less than a fast interval.
	Ramp time.Duration
	Seed uint64
	// Store is sqlite or postgres.
	Store string
	// Database is the address of a PostgreSQL server, in which databases are made; empty: a throw-away one is started.
	Database string
	// GC is how a Global Controller of our own is started.
	GC Command
	// Existing is a Global Controller that is there already; nil: each scenario starts its own.
	Existing *Existing
	// Out is where progress goes; Terminal tells that it can be redrawn.
	Out      io.Writer
	Terminal bool
	// TableOut is where verdicts go.
	TableOut io.Writer
}

// Existing is a Global Controller that is not ours.
type Existing struct {
	Address string
	TLS     *tls.Config // nil: plaintext
	// AC is the base address of its auth controller. Empty: the tokens below are used.
	AC                 string
	MC, Reader         devauth.Client // the credentials of OAuth clients; only id and secret count
	MCToken, ReadToken devauth.Secret
}

// Validate names the first thing that is wrong. Settings that are zero where that makes no sense take their default.
func (o *Options) Validate() error {
	o.Timing.Complete(QuickFast)
	if o.Ramp == 0 {
		o.Ramp = max(o.Timing.Fast, time.Duration(o.MCs)*2*time.Millisecond)
	}
	switch {
	case o.MCs < 1 || o.MCs > 100_000:
		return fmt.Errorf("--mcs is %d: allowed is 1 to 100000", o.MCs)
	case o.Connections < 1 || o.Connections > 10_000:
		return fmt.Errorf("--connections is %d: allowed is 1 to 10000", o.Connections)
	case o.Regions < 1 || o.Regions > 100:
		return fmt.Errorf("--regions is %d: allowed is 1 to 100", o.Regions)
	case o.Parallel < 1 || o.Parallel > 100:
		return fmt.Errorf("--parallel is %d: allowed is 1 to 100", o.Parallel)
	case o.Store != "sqlite" && o.Store != "postgres":
		return fmt.Errorf("--store is %q: allowed is sqlite or postgres", o.Store)
	case o.Database != "" && o.Store != "postgres":
		return errors.New("--database is the address of a PostgreSQL: it goes with --store postgres")
	case o.Duration < 0 || o.Ramp < 0:
		return errors.New("--duration and --ramp must not be negative")
	case o.Duration > 0 && o.Duration < o.Timing.steady():
		return fmt.Errorf("--duration is %v: at least 4 × --fast, %v", o.Duration, o.Timing.steady())
	case o.Timing.Fast < 100*time.Millisecond || o.Timing.Comprehensive < o.Timing.Fast:
		return fmt.Errorf("--fast is %v and --comprehensive %v: allowed is 100ms or more, the second no less than the first", o.Timing.Fast, o.Timing.Comprehensive)
	case o.Timing.Threshold%time.Second != 0 || o.Timing.Threshold <= o.Timing.minThreshold():
		return fmt.Errorf("--threshold is %v: allowed are whole seconds, more than twice --fast and 2.5s (%v)",
			o.Timing.Threshold, o.Timing.minThreshold())
	}
	return nil
}

// regionNames are those of the demo, and then numbered ones.
func (o *Options) regionNames() []string {
	names := []string{"us-east-1", "eu-west-1", "ap-south-1"}
	for i := len(names); i < o.Regions; i++ {
		names = append(names, fmt.Sprintf("region-%d", i+1))
	}
	return names[:o.Regions]
}
