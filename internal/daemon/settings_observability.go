package daemon

var observabilitySettings = []setting{
	{
		name:         "LOG_LEVEL",
		defaultValue: "info",
		allowed:      "debug, info, warn or error",
		help:         "lowest level that is logged",
		parse:        stringField(func(c *Config) *string { return &c.LogLevel }, isOneOf("debug", "info", "warn", "error")),
	},
	{
		name:         "LOG_FORMAT",
		defaultValue: "logfmt",
		allowed:      "logfmt or json",
		help:         "format of the log",
		parse:        stringField(func(c *Config) *string { return &c.LogFormat }, isOneOf("logfmt", "json")),
	},
	{
		name:     "GC_TRACE_ENDPOINT",
		allowed:  "an http or https URL without parameters, or nothing",
		help:     "OpenTelemetry collector for traces (OTLP over HTTP, such as http://localhost:4318); if empty, no trace is sent",
		isSecret: true,
		parse:    stringField(func(c *Config) *string { return &c.TraceEndpoint }, isCollectorOrEmpty),
	},
	{
		name:         "GC_TRACE_SAMPLE_RATIO",
		defaultValue: "1",
		allowed:      "a number from 0 to 1",
		help:         "fraction of locally started traces to record; incoming traces keep the caller's sampling decision",
		parse:        ratioField(func(c *Config) *float64 { return &c.TraceSampleRatio }),
	},
	{
		name:    "GC_PPROF_ADDRESS",
		allowed: "HOST:PORT with a loopback address, or nothing",
		help:    "address that serves profiles (/debug/pprof/) to this machine; if empty, profiles are not served",
		parse:   stringField(func(c *Config) *string { return &c.PprofAddress }, isLoopbackOrEmpty),
	},
}
