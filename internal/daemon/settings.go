package daemon

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/peterbourgon/ff/v3"

	"darktower.example/global-controller/pkg/health"
	"darktower.example/global-controller/pkg/store"
	"darktower.example/global-controller/service"
)

// Config is how a Global Controller is run. [DefaultConfig] has the defaults; every field has its setting in [settings].
type Config struct {
	DatabaseURL           string
	MaxConnections        int
	DataDir               string
	BindAddress           string
	GRPCBindAddress       string
	Region                string
	ID                    string
	JWKSURL               string
	Audience              string
	ClockSkew             time.Duration
	MCScopes              []string
	SubjectIsController   bool
	Batching              bool
	PprofAddress          string
	StalenessThreshold    time.Duration
	ForceThreshold        bool
	HistoryRetention      time.Duration // 0: for ever
	RetireAfter           time.Duration // 0: never
	FastInterval          time.Duration
	ComprehensiveInterval time.Duration
	RateLimitPerMinute    int
	ControllersPerSubject int
	Drain                 time.Duration
	GRPCReflection        bool
	SDNeedsToken          bool
	TLSCertFile           string
	TLSKeyFile            string
	LogLevel              string
	LogFormat             string
	TraceEndpoint         string
	TraceSampleRatio      float64
	file                  string
	// retentionInterval is for tests that cannot wait for a minute; 0: as usual.
	retentionInterval time.Duration
	// wallClock is for tests of a clock that is set; nil: time.Now.
	wallClock func() time.Time
}

// setting is one setting: a flag, an environment variable and a line of the file. Its name is the variable's; the flag
// is the same in lower case with dashes.
type setting struct {
	name, value, allowed, help string
	boolean, secret            bool
	read                       func(c *Config, value string) error
}

var errNotAllowed = errors.New("not allowed")

// settings lists every setting with its default.
func settings() []setting {
	return []setting{
		{name: "DATABASE_URL", allowed: "postgres://… or sqlite:PATH", help: "where the fleet is kept; unless set, an SQLite file in the data folder", secret: true, read: readDatabase},
		{
			name:    "GC_DB_MAX_CONNECTIONS",
			value:   strconv.Itoa(store.DefaultConnections),
			allowed: fmt.Sprintf("a whole number from %d to %d", store.MinConnections, store.MaxConnections),
			help: "connections to PostgreSQL at most; while other replicas use the same database, " +
				"a replica opens only its share of what the server allows, and 9 or this number in any case",
			read: readMaxConnections,
		},
		{name: "GC_DATA_DIR", value: "data", allowed: "a folder", help: "the data folder, made when it is missing", read: text(func(c *Config) *string { return &c.DataDir }, notEmpty)},
		{name: "BIND_ADDRESS", value: "127.0.0.1:8081", allowed: "HOST:PORT", help: "where HTTP listens", read: text(func(c *Config) *string { return &c.BindAddress }, isAddress)},
		{name: "GC_GRPC_BIND_ADDRESS", value: "127.0.0.1:50051", allowed: "HOST:PORT", help: "where gRPC listens", read: text(func(c *Config) *string { return &c.GRPCBindAddress }, isAddress)},
		{name: "GC_REGION", value: "us-east-1", allowed: "1 to 50 letters, digits, '-' and '_'", help: "the region that this service runs in", read: text(func(c *Config) *string { return &c.Region }, func(s string) bool { return service.IsValidName(s, 50) })},
		{name: "GC_ID", value: "", allowed: "1 to 255 letters, digits, '-' and '_'", help: "the name of this replica; unless set, gc-HOSTNAME-8 hex digits", read: readID},
		{name: "AC_JWKS_URL", value: "http://localhost:8082/.well-known/jwks.json", allowed: "an http or https URL", help: "where the auth controller publishes its keys", secret: true, read: text(func(c *Config) *string { return &c.JWKSURL }, isHTTP)},
		{name: "JWT_AUDIENCE", allowed: "any text", help: "the audience that tokens must name; unless set, it is not checked", read: text(func(c *Config) *string { return &c.Audience }, nil)},
		{name: "JWT_CLOCK_SKEW_SECONDS", value: "300", allowed: "a whole number from 1 to 600", help: "how far in the future a token may say it was issued", read: seconds(func(c *Config) *time.Duration { return &c.ClockSkew }, 1, 600)},
		{name: "GC_MC_SCOPES", value: "mc:register service.write.gc", allowed: "scopes separated by spaces", help: "a meeting controller's token needs one of these", read: readScopes},
		{name: "GC_SUBJECT_IS_CONTROLLER", value: "false", allowed: "true or false", help: "a token speaks only for the controller that its subject names", boolean: true, read: truth(func(c *Config) *bool { return &c.SubjectIsController })},
		{
			name:    "MC_STALENESS_THRESHOLD_SECONDS",
			value:   "30",
			allowed: "a whole number from 1 to 86400, and more than twice the fast interval and 2.5 s unless forced",
			help:    "how long a controller may be silent",
			read:    seconds(func(c *Config) *time.Duration { return &c.StalenessThreshold }, 1, 86400),
		},
		{
			name:    "GC_FORCE_STALENESS_THRESHOLD",
			value:   "false",
			allowed: "true or false",
			help:    "accept a threshold that two lost heartbeats and an unnoticed outage exceed",
			boolean: true,
			read:    truth(func(c *Config) *bool { return &c.ForceThreshold }),
		},
		{name: "FAST_HEARTBEAT_INTERVAL_MS", value: "10000", allowed: "a whole number from 1 to 3600000", help: "how often controllers are told to report their load", read: milliseconds(func(c *Config) *time.Duration { return &c.FastInterval })},
		{name: "COMPREHENSIVE_HEARTBEAT_INTERVAL_MS", value: "30000", allowed: "a whole number from 1 to 3600000", help: "how often controllers are told to report CPU and memory as well", read: milliseconds(func(c *Config) *time.Duration { return &c.ComprehensiveInterval })},
		{
			name:    "RATE_LIMIT_RPM",
			value:   "600",
			allowed: "a whole number from 1 to 1000000000",
			help:    "calls a minute for each caller; heartbeats and registrations of registered controllers are not counted",
			read:    readRateLimit,
		},
		{
			name:    "GC_MAX_CONTROLLERS_PER_SUBJECT",
			value:   "20000",
			allowed: "a whole number from 1 to 1000000000",
			help: "how many controllers one token subject may own: those that it registered last. " +
				"It may create so many at once, and then RATE_LIMIT_RPM a minute",
			read: readControllersPerSubject,
		},
		{name: "GC_HISTORY_RETENTION_DAYS", value: "30", allowed: "a whole number from 0 to 36500; 0 is for ever", help: "how long changes of controllers' states are kept", read: days(func(c *Config) *time.Duration { return &c.HistoryRetention })},
		{name: "GC_RETIRE_AFTER_SECONDS", value: "0", allowed: "0 for never, or a whole number up to 315360000 that is at least twice MC_STALENESS_THRESHOLD_SECONDS", help: "how long a controller may be silent until it is taken out of the fleet; those that an operator drains stay", read: seconds(func(c *Config) *time.Duration { return &c.RetireAfter }, 0, 315_360_000)},
		{name: "GC_DRAIN_SECONDS", value: "30", allowed: "a whole number from 0 to 3600", help: "how long a stopping server finishes its calls", read: seconds(func(c *Config) *time.Duration { return &c.Drain }, 0, 3600)},
		{name: "GC_GRPC_REFLECTION", value: "false", allowed: "true or false", help: "let gRPC tools ask which services there are", boolean: true, read: truth(func(c *Config) *bool { return &c.GRPCReflection })},
		{name: "GC_SD_NEEDS_TOKEN", value: "false", allowed: "true or false", help: "have /sd/controllers need a token that may read the fleet", boolean: true, read: truth(func(c *Config) *bool { return &c.SDNeedsToken })},
		{name: "GC_TLS_CERT_FILE", allowed: "a PEM file", help: "certificate for both listeners; unless set, they are plaintext", read: text(func(c *Config) *string { return &c.TLSCertFile }, nil)},
		{name: "GC_TLS_KEY_FILE", allowed: "a PEM file", help: "the certificate's key", read: text(func(c *Config) *string { return &c.TLSKeyFile }, nil)},
		{name: "LOG_LEVEL", value: "info", allowed: "debug, info, warn or error", help: "the least important lines that are logged", read: text(func(c *Config) *string { return &c.LogLevel }, oneOf("debug", "info", "warn", "error"))},
		{name: "LOG_FORMAT", value: "logfmt", allowed: "logfmt or json", help: "the form of log lines", read: text(func(c *Config) *string { return &c.LogFormat }, oneOf("logfmt", "json"))},
		{name: "GC_HEARTBEAT_BATCHING", value: "true", allowed: "true or false", help: "let heartbeats share commits; false is for comparisons only", boolean: true, read: truth(func(c *Config) *bool { return &c.Batching })},
		{name: "GC_PPROF_ADDRESS", allowed: "HOST:PORT with a loopback address, or nothing", help: "where profiles are served to this machine (/debug/pprof/); unless set, nowhere", read: text(func(c *Config) *string { return &c.PprofAddress }, isLoopbackOrNone)},
		{name: "GC_TRACE_ENDPOINT", allowed: "an http or https URL without parameters, or nothing", help: "the collector of OpenTelemetry that traces are sent to (OTLP over HTTP, such as http://localhost:4318); unless set, there are none", secret: true, read: text(func(c *Config) *string { return &c.TraceEndpoint }, isCollectorOrNone)},
		{name: "GC_TRACE_SAMPLE_RATIO", value: "1", allowed: "a number from 0 to 1", help: "the share of the traces that begin here which are recorded; a caller with a trace has decided already", read: ratio(func(c *Config) *float64 { return &c.TraceSampleRatio })},
		{name: "GC_CONFIG_FILE", allowed: "a file with lines NAME=value", help: "settings that neither a flag nor the environment gives", read: text(func(c *Config) *string { return &c.file }, nil)},
	}
}

func (s setting) flag() string { return strings.ReplaceAll(strings.ToLower(s.name), "_", "-") }

func text(field func(*Config) *string, allowed func(string) bool) func(*Config, string) error {
	return func(c *Config, value string) error {
		if allowed != nil && !allowed(value) {
			return errNotAllowed
		}
		*field(c) = value
		return nil
	}
}

func notEmpty(s string) bool { return s != "" }

func oneOf(words ...string) func(string) bool {
	return func(s string) bool { return slices.Contains(words, s) }
}

func isAddress(s string) bool {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n <= math.MaxUint16
}

func isLoopbackOrNone(s string) bool {
	if s == "" {
		return true
	}
	host, _, err := net.SplitHostPort(s)
	ip := net.ParseIP(host)
	return err == nil && isAddress(s) && (host == "localhost" || ip != nil && ip.IsLoopback())
}

func isHTTP(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

func isCollectorOrNone(s string) bool { return s == "" || isHTTP(s) && !strings.ContainsAny(s, "?#") }

func isPostgres(s string) bool {
	hasHosts, err := store.ParseAddress(s)
	return err == nil && hasHosts
}

func whole(value string, least, most int64) (int64, error) {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < least || n > most {
		return 0, errNotAllowed
	}
	return n, nil
}

func seconds(field func(*Config) *time.Duration, least, most int64) func(*Config, string) error {
	return func(c *Config, value string) error {
		n, err := whole(value, least, most)
		*field(c) = time.Duration(n) * time.Second
		return err
	}
}

func days(field func(*Config) *time.Duration) func(*Config, string) error {
	return func(c *Config, value string) error {
		n, err := whole(value, 0, 36_500)
		*field(c) = time.Duration(n) * 24 * time.Hour
		return err
	}
}

func milliseconds(field func(*Config) *time.Duration) func(*Config, string) error {
	return func(c *Config, value string) error {
		n, err := whole(value, 1, 3_600_000)
		*field(c) = time.Duration(n) * time.Millisecond
		return err
	}
}

func ratio(field func(*Config) *float64) func(*Config, string) error {
	return func(c *Config, value string) error {
		share, err := strconv.ParseFloat(value, 64)
		if err != nil || !(share >= 0 && share <= 1) { // That it is not a number either.
			return errNotAllowed
		}
		*field(c) = share
		return nil
	}
}

func truth(field func(*Config) *bool) func(*Config, string) error {
	return func(c *Config, value string) error {
		if value != "true" && value != "false" {
			return errNotAllowed
		}
		*field(c) = value == "true"
		return nil
	}
}

func readRateLimit(c *Config, value string) error {
	n, err := whole(value, 1, 1_000_000_000)
	c.RateLimitPerMinute = int(n)
	return err
}

func readControllersPerSubject(c *Config, value string) error {
	n, err := whole(value, 1, 1_000_000_000)
	c.ControllersPerSubject = int(n)
	return err
}

func readMaxConnections(c *Config, value string) error {
	n, err := whole(value, store.MinConnections, store.MaxConnections)
	c.MaxConnections = int(n)
	return err
}

func readScopes(c *Config, value string) error {
	c.MCScopes = strings.Fields(value)
	if len(c.MCScopes) == 0 {
		return errNotAllowed
	}
	return nil
}

func readDatabase(c *Config, value string) error {
	path, isSQLite := strings.CutPrefix(value, "sqlite:")
	allowed := value == "" || isSQLite && path != "" || isPostgres(value)
	if !allowed {
		return errNotAllowed
	}
	c.DatabaseURL = value
	return nil
}

func readID(c *Config, value string) error {
	if value == "" {
		value = defaultID()
	}
	if !service.IsValidName(value, 255) {
		return errNotAllowed
	}
	c.ID = value
	return nil
}

func defaultID() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	name := strings.Map(func(r rune) rune {
		if r < 128 && service.IsValidName(string(r), 1) {
			return r
		}
		return '-'
	}, host)
	var suffix [4]byte
	_, _ = rand.Read(suffix[:]) // It never fails.
	return "gc-" + name[:min(len(name), 200)] + "-" + hex.EncodeToString(suffix[:])
}

// DefaultConfig is a configuration with every setting at its default.
func DefaultConfig() Config {
	var c Config
	for _, s := range settings() {
		// The defaults are allowed; a test holds that.
		_ = s.read(&c, s.value)
	}
	_ = c.finish()
	return c
}

// finish derives what depends on more than one setting and checks it.
func (c *Config) finish() error {
	if c.DatabaseURL == "" {
		c.DatabaseURL = "sqlite:" + filepath.Join(c.DataDir, "global-controller.db")
	}
	// An outage as long as the tolerance goes unnoticed. It can begin just before a heartbeat and end just after one.
	if least := 2*c.FastInterval + health.Tolerance; !c.ForceThreshold && c.StalenessThreshold <= least {
		return fmt.Errorf(
			"MC_STALENESS_THRESHOLD_SECONDS is %g: it must be more than %g, which is twice FAST_HEARTBEAT_INTERVAL_MS (%d ms) "+
				"and %g s that an unnoticed outage may last, or GC_FORCE_STALENESS_THRESHOLD must be true",
			c.StalenessThreshold.Seconds(), least.Seconds(), c.FastInterval.Milliseconds(), health.Tolerance.Seconds(),
		)
	}
	if c.RetireAfter > 0 && c.RetireAfter < 2*c.StalenessThreshold {
		return fmt.Errorf("GC_RETIRE_AFTER_SECONDS is %g: it must be 0 for never, or at least twice MC_STALENESS_THRESHOLD_SECONDS (%g)",
			c.RetireAfter.Seconds(), c.StalenessThreshold.Seconds())
	}
	if (c.TLSCertFile == "") != (c.TLSKeyFile == "") {
		return errors.New("GC_TLS_CERT_FILE and GC_TLS_KEY_FILE go together: set both or neither")
	}
	return nil
}

// boolValue lets a flag that is true or false stand without a value.
type boolValue struct{ text *string }

func (b boolValue) String() string {
	if b.text == nil {
		return ""
	}
	return *b.text
}
func (b boolValue) Set(s string) error { *b.text = s; return nil }
func (b boolValue) IsBoolFlag() bool   { return true }

// ParseConfig reads the settings from flags, the environment and the file, in that order of precedence. Its errors
// name the setting, its value and what is allowed; [flag.ErrHelp] means that help was asked for and printed.
func ParseConfig(args []string, out io.Writer) (Config, error) {
	flags := flag.NewFlagSet("global-controller", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	values := make(map[string]*string)
	for _, s := range settings() {
		value := s.value
		values[s.name] = &value
		if s.boolean {
			flags.Var(boolValue{&value}, s.flag(), s.help)
		} else {
			flags.StringVar(&value, s.flag(), s.value, s.help)
		}
	}
	err := ff.Parse(flags, args, ff.WithEnvVars(), ff.WithConfigFileFlag("gc-config-file"), ff.WithConfigFileParser(parseFile))
	switch {
	case errors.Is(err, flag.ErrHelp):
		PrintHelp(out)
		return Config{}, flag.ErrHelp
	case err != nil:
		return Config{}, fmt.Errorf("read settings: %w (see --help)", err)
	case flags.NArg() > 0 && !service.IsValidName(flags.Arg(0), maxShownWord):
		// A database's address, for one, when the name of its flag was left out.
		return Config{}, errors.New("unknown command (see --help)")
	case flags.NArg() > 0:
		return Config{}, fmt.Errorf("unknown command %q (see --help)", flags.Arg(0))
	}
	var c Config
	for _, s := range settings() {
		value := *values[s.name]
		if err := s.read(&c, value); err != nil {
			return Config{}, fmt.Errorf("%s (--%s) is %q: allowed is %s", s.name, s.flag(), s.shown(value), s.allowed)
		}
	}
	return c, c.finish()
}

// parseFile reads lines NAME=value, where a name may be the variable's or the flag's. Empty lines and lines that begin
// with # are passed over. No error quotes a line, which may hold a password.
func parseFile(r io.Reader, set func(name, value string) error) error {
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			return fmt.Errorf("line %d is not NAME=value", n)
		}
		name = strings.TrimSpace(name)
		if !service.IsValidName(name, maxShownWord) {
			return fmt.Errorf("line %d is not NAME=value", n)
		}
		name = setting{name: name}.flag()
		if !slices.ContainsFunc(settings(), func(s setting) bool { return s.flag() == name }) {
			return fmt.Errorf("line %d: %q is not a setting", n, name)
		}
		if err := set(name, strings.TrimSpace(value)); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return lines.Err()
}

// PrintHelp prints how the daemon is used.
func PrintHelp(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	defer func() { _ = w.Flush() }()
	_, _ = fmt.Fprint(w, `global-controller keeps track of meeting controllers: they register here, report heartbeats, and are found silent.

Usage:
  global-controller [FLAGS]                  run the service
  global-controller migrate up|status        bring the database's schema up to date, or show where it is
  global-controller migrate down VERSION     take the schema back to a version (0: remove everything), with --yes and when
                                             no replica runs (--while-replicas-run: all the same)
  global-controller probe                    exit 0 when the service at BIND_ADDRESS is ready, 1 when not
  global-controller version                  print the version

Each flag is also an environment variable and a line NAME=value of the file that --gc-config-file names; a flag comes
before the environment, the environment before the file.

Flags:
`)
	for _, s := range settings() {
		_, _ = fmt.Fprintf(w, "  --%s\t%s\n\t%s (default %q; allowed: %s)\n", s.flag(), s.name, s.help, s.value, s.allowed)
	}
}
