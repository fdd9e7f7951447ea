package daemon

import (
	"fmt"
	"strconv"
	"time"

	"darktower.example/global-controller/pkg/store"
)

var databaseSettings = []setting{
	{
		name:     "DATABASE_URL",
		allowed:  "postgres://… or sqlite:PATH",
		help:     "address of the database; if empty, the SQLite file global-controller.db in GC_DATA_DIR",
		isSecret: true,
		parse:    parseDatabaseURL,
	},
	{
		name:         "GC_DB_MAX_CONNECTIONS",
		defaultValue: strconv.Itoa(store.DefaultConnections),
		allowed:      fmt.Sprintf("a whole number from %d to %d", store.MinConnections, store.MaxConnections),
		help: "maximum number of connections to PostgreSQL; replicas that use the same database share what its server allows; " +
			"each replica may always open 9, or this number if it is less",
		parse: intField(func(c *Config) *int { return &c.MaxConnections }, store.MinConnections, store.MaxConnections),
	},
	{
		name:         "GC_DATA_DIR",
		defaultValue: "data",
		allowed:      "a folder",
		help:         "data folder; it is created if it is missing",
		parse:        stringField(func(c *Config) *string { return &c.DataDir }, isNotEmpty),
	},
	{
		name:         "GC_HISTORY_RETENTION_DAYS",
		defaultValue: "30",
		allowed:      "a whole number from 0 to 36500; 0 keeps it for ever",
		help:         "how long transitions stay in the history",
		parse:        durationField(func(c *Config) *time.Duration { return &c.HistoryRetention }, 24*time.Hour, 0, 36_500),
	},
	{
		name:         "GC_RETIRE_AFTER_SECONDS",
		defaultValue: "0",
		allowed:      "0 for never, or a whole number up to 315360000 that is at least twice MC_STALENESS_THRESHOLD_SECONDS",
		help: "time without a heartbeat after which a controller is removed from the fleet; " +
			"a controller that an operator drains is not removed",
		parse: durationField(func(c *Config) *time.Duration { return &c.RetireAfter }, time.Second, 0, 315_360_000),
	},
	{
		name:         "GC_HEARTBEAT_BATCHING",
		defaultValue: "true",
		allowed:      allowedBool,
		help:         "if true, heartbeats share commits; false is for performance comparisons only",
		isBool:       true,
		parse:        boolField(func(c *Config) *bool { return &c.Batching }),
	},
}
