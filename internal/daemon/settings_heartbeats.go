package daemon

import "time"

var heartbeatSettings = []setting{
	{
		name:         "MC_STALENESS_THRESHOLD_SECONDS",
		defaultValue: "30",
		allowed:      "a whole number from 1 to 86400 that is more than twice the fast interval plus 2.5 s, unless forced",
		help:         "time without a heartbeat after which a controller is marked stale",
		parse:        durationField(func(c *Config) *time.Duration { return &c.StalenessThreshold }, time.Second, 1, 86400),
	},
	{
		name:         "GC_FORCE_STALENESS_THRESHOLD",
		defaultValue: "false",
		allowed:      allowedBool,
		help:         "if true, a threshold of at most twice the fast interval plus 2.5 s is accepted; for tests",
		isBool:       true,
		parse:        boolField(func(c *Config) *bool { return &c.ForceThreshold }),
	},
	{
		name:         "FAST_HEARTBEAT_INTERVAL_MS",
		defaultValue: "10000",
		allowed:      allowedMillis,
		help:         "interval at which controllers report their load",
		parse:        durationField(func(c *Config) *time.Duration { return &c.FastInterval }, time.Millisecond, 1, 3_600_000),
	},
	{
		name:         "COMPREHENSIVE_HEARTBEAT_INTERVAL_MS",
		defaultValue: "30000",
		allowed:      allowedMillis,
		help:         "interval at which controllers report CPU and memory as well",
		parse:        durationField(func(c *Config) *time.Duration { return &c.ComprehensiveInterval }, time.Millisecond, 1, 3_600_000),
	},
}
