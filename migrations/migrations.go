// Package migrations embeds the schema of the store, a folder a dialect, numbered, up and down.
package migrations

import "embed"

// FS holds the folders "postgres" and "sqlite".
//
//go:embed postgres/*.sql sqlite/*.sql
var FS embed.FS
