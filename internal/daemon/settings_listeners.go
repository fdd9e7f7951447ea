package daemon

import "time"

var listenerSettings = []setting{
	{
		name:         "GC_REGION",
		defaultValue: "us-east-1",
		allowed:      "1 to 50 letters, digits, '-' and '_'",
		help:         "region in which this replica runs",
		parse:        stringField(func(c *Config) *string { return &c.Region }, isRegion),
	},
	{
		name:    "GC_ID",
		allowed: "1 to 255 letters, digits, '-' and '_'",
		help:    "name of this replica; if empty, gc-HOSTNAME-8 hex digits",
		parse:   parseID,
	},
	{
		name:         "BIND_ADDRESS",
		defaultValue: "127.0.0.1:8081",
		allowed:      allowedAddress,
		help:         "address of the HTTP listener",
		parse:        stringField(func(c *Config) *string { return &c.BindAddress }, isAddress),
	},
	{
		name:         "GC_GRPC_BIND_ADDRESS",
		defaultValue: "127.0.0.1:50051",
		allowed:      allowedAddress,
		help:         "address of the gRPC listener",
		parse:        stringField(func(c *Config) *string { return &c.GRPCBindAddress }, isAddress),
	},
	{
		name:         "GC_GRPC_REFLECTION",
		defaultValue: "false",
		allowed:      allowedBool,
		help:         "if true, gRPC tools can list the services (reflection)",
		isBool:       true,
		parse:        boolField(func(c *Config) *bool { return &c.GRPCReflection }),
	},
	{
		name:    "GC_TLS_CERT_FILE",
		allowed: "a PEM file",
		help:    "certificate of both listeners; if empty, they are plaintext",
		parse:   stringField(func(c *Config) *string { return &c.TLSCertFile }, nil),
	},
	{
		name:    "GC_TLS_KEY_FILE",
		allowed: "a PEM file",
		help:    "private key of the certificate",
		parse:   stringField(func(c *Config) *string { return &c.TLSKeyFile }, nil),
	},
	{
		name:         "GC_DRAIN_SECONDS",
		defaultValue: "30",
		allowed:      "a whole number from 0 to 3600",
		help:         "shutdown timeout: how long a server that stops completes the calls in flight",
		parse:        durationField(func(c *Config) *time.Duration { return &c.ShutdownTimeout }, time.Second, 0, 3600),
	},
}
