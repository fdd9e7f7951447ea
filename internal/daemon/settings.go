package daemon

import "strings"

const (
	allowedAddress = "HOST:PORT"
	allowedBool    = "true or false"
	allowedLarge   = "a whole number from 1 to 1000000000"
	allowedMillis  = "a whole number from 1 to 3600000"
)

// setting is one setting: an environment variable, a flag and a line of the file.
type setting struct {
	name         string // The environment variable. The flag is the same in lower case with dashes.
	defaultValue string
	allowed      string
	help         string
	isBool       bool
	isSecret     bool // The value may contain a password.
	parse        parser
}

func (s setting) flag() string { return strings.ReplaceAll(strings.ToLower(s.name), "_", "-") }

// settingGroup is a section of the help and of docs/configuration.md.
type settingGroup struct {
	title    string
	settings []setting
}

// settings lists every setting.
func settings() (all []setting) {
	for _, group := range settingGroups() {
		all = append(all, group.settings...)
	}
	return all
}

func settingGroups() []settingGroup {
	return []settingGroup{
		{"Database", databaseSettings},
		{"Identity and listeners", listenerSettings},
		{"Authentication and limits", authSettings},
		{"Heartbeats", heartbeatSettings},
		{"Logs, traces and profiles", observabilitySettings},
		{"File", []setting{{
			name:    "GC_CONFIG_FILE",
			allowed: "a file with lines NAME=value",
			help:    "file with the settings that neither a flag nor the environment sets",
			parse:   stringField(func(c *Config) *string { return &c.configFile }, nil),
		}}},
	}
}
