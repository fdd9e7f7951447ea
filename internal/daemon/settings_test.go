package daemon

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// parse reads the settings from arguments and an environment. It changes the environment of the process, so tests that call it
// do not run in parallel.
func parse(t *testing.T, args []string, environment map[string]string) (Config, error) {
	t.Helper()
	for _, s := range settings() {
		if _, ok := os.LookupEnv(s.name); ok {
			t.Setenv(s.name, "") // Restores it at the end.
			if err := os.Unsetenv(s.name); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, value := range environment {
		t.Setenv(name, value)
	}
	return ParseConfig(args, &bytes.Buffer{})
}

func TestConfig_Defaults(t *testing.T) {
	got, err := parse(t, nil, nil)
	if err != nil {
		t.Fatalf("ParseConfig() = %v", err)
	}
	if !regexp.MustCompile(`^gc-[A-Za-z0-9_-]+-[0-9a-f]{8}$`).MatchString(got.ID) {
		t.Errorf("id = %q, want gc-HOSTNAME-8 hex digits", got.ID)
	}
	got.ID = ""

	want := Config{
		DatabaseURL:           "sqlite:data/global-controller.db",
		MaxConnections:        20,
		DataDir:               "data",
		Batching:              true,
		HistoryRetention:      30 * 24 * time.Hour,
		Region:                "us-east-1",
		BindAddress:           "127.0.0.1:8081",
		GRPCBindAddress:       "127.0.0.1:50051",
		ShutdownTimeout:       30 * time.Second,
		JWKSURL:               "http://localhost:8082/.well-known/jwks.json",
		ClockSkew:             5 * time.Minute,
		MCScopes:              []string{"mc:register", "service.write.gc"},
		RateLimitPerMinute:    600,
		ControllersPerSubject: 20_000,
		StalenessThreshold:    30 * time.Second,
		FastInterval:          10 * time.Second,
		ComprehensiveInterval: 30 * time.Second,
		LogLevel:              "info",
		LogFormat:             "logfmt",
		TraceSampleRatio:      1,
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Config{})); diff != "" {
		t.Errorf("defaults: -want +got:\n%s", diff)
	}

	defaults := DefaultConfig()
	defaults.ID = ""
	if diff := cmp.Diff(want, defaults, cmp.AllowUnexported(Config{})); diff != "" {
		t.Errorf("DefaultConfig(): -want +got:\n%s", diff)
	}
}

func TestParseConfig_Precedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gc.conf")
	text := "# a comment\n\nGC_REGION=from-file\nJWT_CLOCK_SKEW_SECONDS = 7\nlog-level=debug\nRATE_LIMIT_RPM=5\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}

	got, err := parse(t, []string{"--gc-region", "from-flag", "--gc-grpc-reflection"},
		map[string]string{"GC_CONFIG_FILE": file, "GC_REGION": "from-environment", "JWT_CLOCK_SKEW_SECONDS": "8"})
	if err != nil {
		t.Fatalf("ParseConfig() = %v", err)
	}
	if got.Region != "from-flag" || !got.GRPCReflection {
		t.Errorf("region and reflection = %s, %v, want those of the flags", got.Region, got.GRPCReflection)
	}
	if got.ClockSkew != 8*time.Second {
		t.Errorf("clock skew = %v, want that of the environment", got.ClockSkew)
	}
	if got.LogLevel != "debug" || got.RateLimitPerMinute != 5 {
		t.Errorf("log level and rate limit = %s, %d, want those of the file", got.LogLevel, got.RateLimitPerMinute)
	}
}

func TestParseConfig_InvalidValues(t *testing.T) {
	for _, tc := range []struct{ name, value, allowed string }{
		{"DATABASE_URL", "mysql://root@db/x", "postgres://"},
		{"DATABASE_URL", "sqlite:", "sqlite:PATH"},
		{"DATABASE_URL", "postgres://h1,h2,h3/db?port=1,2", "postgres://"},
		{"GC_DB_MAX_CONNECTIONS", "7", "8 to 1000"},
		{"GC_DB_MAX_CONNECTIONS", "1001", "8 to 1000"},
		{"GC_DB_MAX_CONNECTIONS", "many", "8 to 1000"},
		{"BIND_ADDRESS", "8081", "HOST:PORT"},
		{"BIND_ADDRESS", "127.0.0.1:65536", "HOST:PORT"},
		{"GC_GRPC_BIND_ADDRESS", "127.0.0.1:http", "HOST:PORT"},
		{"GC_REGION", "us east", "letters"},
		{"GC_ID", "a.b", "letters"},
		{"AC_JWKS_URL", "ftp://ac/jwks", "http"},
		{"JWT_CLOCK_SKEW_SECONDS", "0", "1 to 600"},
		{"JWT_CLOCK_SKEW_SECONDS", "601", "1 to 600"},
		{"JWT_CLOCK_SKEW_SECONDS", "1.5", "whole number"},
		{"MC_STALENESS_THRESHOLD_SECONDS", "0", "twice the fast interval"},
		{"MC_STALENESS_THRESHOLD_SECONDS", "20", "twice FAST_HEARTBEAT_INTERVAL_MS"},
		{"MC_STALENESS_THRESHOLD_SECONDS", "22", "more than 22.5"},
		{"FAST_HEARTBEAT_INTERVAL_MS", "0", "1 to"},
		{"COMPREHENSIVE_HEARTBEAT_INTERVAL_MS", "-1", "1 to"},
		{"RATE_LIMIT_RPM", "0", "1 to"},
		{"RATE_LIMIT_RPM", "many", "1 to"},
		{"GC_MAX_CONTROLLERS_PER_SUBJECT", "0", "1 to"},
		{"GC_DRAIN_SECONDS", "-1", "0 to"},
		{"GC_GRPC_REFLECTION", "perhaps", "true or false"},
		{"GC_MC_SCOPES", " ", "scopes"},
		{"GC_PPROF_ADDRESS", "0.0.0.0:6060", "loopback"},
		{"LOG_LEVEL", "loud", "debug"},
		{"LOG_FORMAT", "xml", "logfmt"},
		{"GC_TLS_CERT_FILE", "/cert.pem", "GC_TLS_KEY_FILE"},
		{"GC_TRACE_ENDPOINT", "localhost:4318", "http"},
		{"GC_TRACE_ENDPOINT", "http://localhost:4318?key=x", "without parameters"},
		{"GC_TRACE_SAMPLE_RATIO", "1.1", "0 to 1"},
		{"GC_TRACE_SAMPLE_RATIO", "-0.1", "0 to 1"},
		{"GC_TRACE_SAMPLE_RATIO", "NaN", "0 to 1"},
	} {
		_, err := parse(t, nil, map[string]string{tc.name: tc.value})
		if err == nil || !strings.Contains(err.Error(), tc.name) || !strings.Contains(err.Error(), tc.allowed) {
			t.Errorf("%s=%s: %v, want an error that names it and what is allowed: %s", tc.name, tc.value, err, tc.allowed)
		}

		if err := os.Unsetenv(tc.name); err != nil {
			t.Fatal(err)
		}
	}

	got, err := parse(t, nil, map[string]string{"MC_STALENESS_THRESHOLD_SECONDS": "20", "GC_FORCE_STALENESS_THRESHOLD": "true"})
	if err != nil || got.StalenessThreshold != 20*time.Second {
		t.Errorf("a forced threshold = %v, %v, want 20 s", got.StalenessThreshold, err)
	}
}

func TestParseConfig_DatabaseAddresses(t *testing.T) {
	for _, address := range []string{
		"postgres://gc:pw@db:5432/gc?sslmode=disable",
		"postgresql://db/gc",
		"postgres:///gc?host=/run/postgresql",
		"sqlite:gc.db",
		"sqlite:/var/lib/gc/gc.db",
	} {
		if got, err := parse(t, []string{"--database-url", address}, nil); err != nil || got.DatabaseURL != address {
			t.Errorf("%s = %q, %v, want it accepted", address, got.DatabaseURL, err)
		}
	}
}

func TestRedact_HidesSecrets(t *testing.T) {
	for _, address := range []string{
		"postgres://gc:hunter2@db/gc", "postgres://db/gc?password=hunter2", "mysql://gc:hunter2@db/gc", "postgres://gc:hunter2@db:%zz/gc",
		"host=db user=gc password=hunter2", "password=hunter2", "gc:hunter2@db/gc", "//gc:hunter2@db/gc", "postgres:gc:hunter2@db/gc",
		"postgres://db/gc password=hunter2", "postgres:///gc?host=/run&password=hunter2", "postgres://db/gc#hunter2",
		"postgres://gc:1/hunter2@db/gc",
		"postgres://gc:1#hunter2@db/gc", "postgres://gc:1?hunter2@db/gc", "postgres://gc:a@hunter2@db/gc", "postgres://hunter2@db:x/gc",
		" postgres://gc:hunter2@db/gc",
		"https://hunter2@ac/jwks", "https://ac/jwks?token=hunter2", "sqlite:gc.db?key=hunter2", "file:gc.db?key=hunter2",
	} {
		if shown := redact(address); strings.Contains(shown, "hunter2") {
			t.Errorf("redact(%s) = %s", address, shown)
		}
		for _, name := range []string{"--database-url", "--ac-jwks-url", "--gc-trace-endpoint"} {
			_, err := parse(t, []string{name, address, "--log-level", "loud"}, nil)
			if err == nil || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("ParseConfig(%s) = %v, want an error without the password", name, err)
			}
		}
		if _, err := parse(t, []string{address}, nil); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("ParseConfig(%s) = %v, want an error without the password", address, err)
		}
	}

	file := filepath.Join(t.TempDir(), "gc.conf")
	for _, line := range []string{
		"DATABASE_URL postgres://gc:hunter2@db/gc",
		"DATABASE_URL postgres://gc:hunter2@db/gc?sslmode=disable",
		"DATABASE_URL: host=db password=hunter2",
		"DATABASE_URL=host=db password=hunter2",
	} {
		if err := os.WriteFile(file, []byte(line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := parse(t, []string{"--gc-config-file", file}, nil)
		if err == nil || strings.Contains(err.Error(), "hunter2") ||
			!strings.Contains(err.Error(), "line 1") && !strings.Contains(err.Error(), "REDACTED") {
			t.Errorf("ParseConfig(file with %s) = %v, want the line's number and not the line", line, err)
		}
	}
}

func TestRedact_ShowsTheRest(t *testing.T) {
	for address, want := range map[string]string{
		"":                                    "",
		"hunter2":                             "REDACTED",
		"postgres://gc:pw@db:5432/gc":         "postgres://gc:REDACTED@db:5432/gc",
		"postgresql://db/gc":                  "postgresql://db/gc",
		"postgres://gc@db/gc":                 "postgres://gc@db/gc",
		"postgres:///gc?host=/run/postgresql": "postgres:///gc?REDACTED",
		"sqlite:data/gc.db":                   "sqlite:data/gc.db",
		"sqlite:/var/lib/gc 1/gc.db":          "sqlite:/var/lib/gc 1/gc.db",
		"https://ac:8443":                     "https://ac:8443",
		"http://localhost:8082/.well-known/jwks.json": "http://localhost:8082/.well-known/jwks.json",
	} {
		if got := redact(address); got != want {
			t.Errorf("redact(%s) = %s, want %s", address, got, want)
		}
	}
}
