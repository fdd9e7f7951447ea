package client

import (
	"crypto/tls"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	darktowerv1 "darktower.example/global-controller/proto/darktower/v1"
)

func TestConfig_Validation(t *testing.T) {
	t.Parallel()
	connection, err := NewConnection([]string{"gc:1"}, nil)
	if err != nil {
		t.Fatal(err)
	}

	for name, c := range map[string]struct {
		change func(*Config)
		want   string // Empty: valid.
	}{
		"valid":                      {func(*Config) {}, ""},
		"valid with a connection":    {func(cfg *Config) { cfg.Addresses, cfg.Connection = nil, connection }, ""},
		"valid with an incarnation":  {func(cfg *Config) { cfg.Incarnation = "boot-7_b" }, ""},
		"no id":                      {func(cfg *Config) { cfg.ControllerID = "" }, "ControllerID"},
		"a long id":                  {func(cfg *Config) { cfg.ControllerID = strings.Repeat("a", 256) }, "ControllerID"},
		"an invalid id":              {func(cfg *Config) { cfg.ControllerID = "mc.1" }, "ControllerID"},
		"no region":                  {func(cfg *Config) { cfg.Region = "" }, "Region"},
		"no endpoint":                {func(cfg *Config) { cfg.GRPCEndpoint = "" }, "GRPCEndpoint"},
		"no meetings":                {func(cfg *Config) { cfg.MaxMeetings = 0 }, "MaxMeetings"},
		"too many":                   {func(cfg *Config) { cfg.MaxParticipants = math.MaxUint32 }, "MaxParticipants"},
		"an invalid incarnation":     {func(cfg *Config) { cfg.Incarnation = "a b" }, "Incarnation"},
		"no tokens":                  {func(cfg *Config) { cfg.Tokens = nil }, "Tokens"},
		"no load":                    {func(cfg *Config) { cfg.Load = nil }, "Load"},
		"a negative time":            {func(cfg *Config) { cfg.CallTimeout = -1 }, "negative"},
		"a negative count":           {func(cfg *Config) { cfg.FailoverAfter = -1 }, "FailoverAfter"},
		"no address":                 {func(cfg *Config) { cfg.Addresses = nil }, "address"},
		"addresses and a connection": {func(cfg *Config) { cfg.Connection = connection }, "Connection"},
		"a connection and TLS":       {func(cfg *Config) { cfg.Addresses, cfg.Connection, cfg.TLS = nil, connection, &tls.Config{} }, "TLS"},
		"a connection and options": {func(cfg *Config) {
			cfg.Addresses, cfg.Connection, cfg.DialOptions = nil, connection, []grpc.DialOption{nil}
		}, "DialOptions"},
		"an address without a port": {func(cfg *Config) { cfg.Addresses = []string{"gc"} }, "host:port"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig("gc:1")
			c.change(&cfg)

			client, err := New(cfg)
			switch {
			case c.want == "" && (err != nil || client.Incarnation() == "" || cfg.Incarnation != "" && client.Incarnation() != cfg.Incarnation):
				t.Errorf("New() = %v, want a client", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("New() = %v, want an error with %s", err, c.want)
			}
		})
	}
}

func TestClient_RunsOnceAtATime(t *testing.T) {
	t.Parallel()
	gc := startGlobalController(t, true)
	r := startClient(t, testConfig(gc.address))
	r.waitForEvent(t, EventRegistered)
	if err := r.Run(t.Context()); !errors.Is(err, errRunning) {
		t.Errorf("Run() = %v, want %v", err, errRunning)
	}
}

func TestHealthToProto_UnknownHealthIsUnhealthy(t *testing.T) {
	t.Parallel()
	for health, want := range map[Health]darktowerv1.HealthStatus{
		HealthHealthy: 1, HealthDegraded: 2, HealthUnhealthy: 3, HealthDraining: 4, 17: 3, -1: 3,
	} {
		if got := healthToProto(health); got != want {
			t.Errorf("healthToProto(%d) = %v, want %v", health, got, want)
		}
	}

	if got := durationFromMilliseconds(math.MaxUint64); got != maxInterval {
		t.Errorf("durationFromMilliseconds(max) = %v, want %v", got, maxInterval)
	}

	intent := &darktowerv1.OperatorIntent{Draining: true, Deadline: 1_700_000_000, Reason: "kernel"}
	if got, want := intentFromProto(intent), (Intent{true, time.Unix(1_700_000_000, 0), "kernel"}); got != want {
		t.Errorf("intentFromProto() = %v, want %v", got, want)
	}

	intent.Deadline = math.MaxUint64
	if got := intentFromProto(intent).Deadline; got.Year() < 3000 {
		t.Errorf("deadline = %v, want the far future", got)
	}

	intent.Draining = false
	if got := intentFromProto(intent); got != (Intent{}) {
		t.Errorf("intentFromProto(not draining) = %v, want no intent", got)
	}
}

func TestErrorsAndEvents_TextsAndDefaults(t *testing.T) {
	t.Parallel()
	if EventDrain.String() != "drain" || EventKind(99).String() != "EventKind(99)" {
		t.Error("String() = another name")
	}
	if codeOf(errors.New("any")) != codes.Unknown || codeOf(nil) != codes.OK || retryAfterOf(errors.New("any")) != 0 {
		t.Error("the code or the delay of a foreign error is not the default")
	}
	if got := (&RegistrationError{"region is required"}).Error(); got != "the registration is invalid: region is required" {
		t.Errorf("Error() = %q", got)
	}
}
