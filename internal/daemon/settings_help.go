package daemon

import (
	"fmt"
	"io"
)

const usage = `global-controller tracks the meeting controllers of a region: they register with it and send heartbeats, and it marks a
controller stale when its heartbeats stop.

Usage:
  global-controller [FLAGS]                run the service
  global-controller migrate up             migrate the database's schema to the version of this binary
  global-controller migrate status         list the migrations and the schema's version
  global-controller migrate down VERSION   migrate the schema down to a version; 0 removes everything. It needs --yes,
                                           and no running replica unless --while-replicas-run is given
  global-controller probe                  check whether the service at BIND_ADDRESS is ready
  global-controller version                print the version

Exit codes:
  0  success; probe: the service is ready
  1  the command failed; probe: the service is not ready or cannot be reached
  2  an unknown command or flag, a wrong argument, or an invalid setting

Each setting can be given in three ways: as a flag, as an environment variable, or as a line NAME=value of the file that
--gc-config-file names. A flag takes precedence over the environment, and the environment over the file.
`

// PrintHelp prints the commands, the exit codes and the settings.
func PrintHelp(out io.Writer) {
	_, _ = fmt.Fprint(out, usage)
	for _, group := range settingGroups() {
		_, _ = fmt.Fprintf(out, "\n%s:\n", group.title)
		for _, s := range group.settings {
			_, _ = fmt.Fprintf(out, "  --%s, %s\n      %s\n      default %q; allowed: %s\n", s.flag(), s.name, s.help, s.defaultValue, s.allowed)
		}
	}
}
