package daemon

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"darktower.example/global-controller/pkg/health"
)

// Config has the settings of a Global Controller. [DefaultConfig] returns their defaults, and docs/configuration.md describes
// them.
type Config struct {
	// Database
	DatabaseURL      string
	MaxConnections   int
	DataDir          string
	Batching         bool
	HistoryRetention time.Duration // 0: for ever
	RetireAfter      time.Duration // 0: never

	// Identity and listeners
	Region          string
	ID              string
	BindAddress     string
	GRPCBindAddress string
	GRPCReflection  bool
	TLSCertFile     string
	TLSKeyFile      string
	ShutdownTimeout time.Duration

	// Authentication and limits
	JWKSURL               string
	Audience              string
	ClockSkew             time.Duration
	MCScopes              []string
	SubjectIsController   bool
	SDNeedsToken          bool
	RateLimitPerMinute    int
	ControllersPerSubject int

	// Heartbeats
	StalenessThreshold    time.Duration
	ForceThreshold        bool
	FastInterval          time.Duration
	ComprehensiveInterval time.Duration

	// Logs, traces and profiles
	LogLevel         string
	LogFormat        string
	TraceEndpoint    string
	TraceSampleRatio float64
	PprofAddress     string

	configFile string

	// Testing is for tests. It is not a setting.
	Testing TestingConfig
}

// TestingConfig replaces what a test cannot wait for or cannot set. The zero value changes nothing.
type TestingConfig struct {
	// RetentionInterval is the time between two removals of old records; 0 stands for a minute.
	RetentionInterval time.Duration
	// WallClock replaces [time.Now] as the clock that verifies tokens.
	WallClock func() time.Time
}

// DefaultConfig returns a configuration with every setting at its default.
func DefaultConfig() Config {
	var c Config
	for _, s := range settings() {
		_ = s.parse(&c, s.defaultValue) // A test checks that the defaults are allowed.
	}
	_ = c.deriveAndValidate()
	return c
}

// deriveAndValidate derives what depends on more than one setting, and validates it.
func (c *Config) deriveAndValidate() error {
	if c.DatabaseURL == "" {
		c.DatabaseURL = "sqlite:" + filepath.Join(c.DataDir, "global-controller.db")
	}

	// An outage up to the tolerance goes unnoticed. It can begin just before one heartbeat and end just after the next.
	if lowest := 2*c.FastInterval + health.Tolerance; !c.ForceThreshold && c.StalenessThreshold <= lowest {
		return fmt.Errorf(
			"MC_STALENESS_THRESHOLD_SECONDS is %g: it must be more than %g, which is twice FAST_HEARTBEAT_INTERVAL_MS (%d ms) "+
				"plus the %g s of an outage that goes unnoticed; to use it anyway, set GC_FORCE_STALENESS_THRESHOLD=true",
			c.StalenessThreshold.Seconds(), lowest.Seconds(), c.FastInterval.Milliseconds(), health.Tolerance.Seconds(),
		)
	}
	if c.RetireAfter > 0 && c.RetireAfter < 2*c.StalenessThreshold {
		return fmt.Errorf(
			"GC_RETIRE_AFTER_SECONDS is %g: it must be 0 for never, or at least twice MC_STALENESS_THRESHOLD_SECONDS (%g)",
			c.RetireAfter.Seconds(), c.StalenessThreshold.Seconds(),
		)
	}
	if (c.TLSCertFile == "") != (c.TLSKeyFile == "") {
		return errors.New("only one of GC_TLS_CERT_FILE and GC_TLS_KEY_FILE is set: set both or neither")
	}
	return nil
}
