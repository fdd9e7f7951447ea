// Package migrations embeds the schema of the store: numbered migrations, up and down, with a folder for each dialect.
package migrations

import "embed"

// FS has the folders "postgres" and "sqlite".
//
//go:embed postgres/*.sql sqlite/*.sql
var FS embed.FS
