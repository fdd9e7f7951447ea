package daemon

import "time"

var authSettings = []setting{
	{
		name:         "AC_JWKS_URL",
		defaultValue: "http://localhost:8082/.well-known/jwks.json",
		allowed:      "an http or https URL",
		help:         "where the auth controller publishes its keys (JWKS)",
		isSecret:     true,
		parse:        stringField(func(c *Config) *string { return &c.JWKSURL }, isHTTP),
	},
	{
		name:    "JWT_AUDIENCE",
		allowed: "any text",
		help:    "audience that tokens must name; if empty, the audience is not checked",
		parse:   stringField(func(c *Config) *string { return &c.Audience }, nil),
	},
	{
		name:         "JWT_CLOCK_SKEW_SECONDS",
		defaultValue: "300",
		allowed:      "a whole number from 1 to 600",
		help:         "how far in the future the time of issue of a token may be",
		parse:        durationField(func(c *Config) *time.Duration { return &c.ClockSkew }, time.Second, 1, 600),
	},
	{
		name:         "GC_MC_SCOPES",
		defaultValue: "mc:register service.write.gc",
		allowed:      "scopes separated by spaces",
		help:         "scopes of meeting controllers; the token of a controller needs one of them",
		parse:        parseScopes,
	},
	{
		name:         "GC_SUBJECT_IS_CONTROLLER",
		defaultValue: "false",
		allowed:      allowedBool,
		help:         "if true, a token is valid only for the controller that its subject names",
		isBool:       true,
		parse:        boolField(func(c *Config) *bool { return &c.SubjectIsController }),
	},
	{
		name:         "GC_SD_NEEDS_TOKEN",
		defaultValue: "false",
		allowed:      allowedBool,
		help:         "if true, /sd/controllers needs a token with the scope gc:read",
		isBool:       true,
		parse:        boolField(func(c *Config) *bool { return &c.SDNeedsToken }),
	},
	{
		name:         "RATE_LIMIT_RPM",
		defaultValue: "600",
		allowed:      allowedLarge,
		help:         "calls a minute for each caller; heartbeats and registrations of registered controllers do not count",
		parse:        intField(func(c *Config) *int { return &c.RateLimitPerMinute }, 1, 1_000_000_000),
	},
	{
		name:         "GC_MAX_CONTROLLERS_PER_SUBJECT",
		defaultValue: "20000",
		allowed:      allowedLarge,
		help: "how many controllers one token subject may own: those that it registered last. " +
			"It may create this many at once, and then RATE_LIMIT_RPM a minute",
		parse: intField(func(c *Config) *int { return &c.ControllersPerSubject }, 1, 1_000_000_000),
	},
}
