package operatorcli

import (
	"strings"
	"testing"
)

func TestAdviceForState_EveryReadinessCheck(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, state, want string }{
		{"store", "disk_full", "DATABASE_URL"},
		{"heartbeats", "lock_not_available", "locks on the table meeting_controllers"},
		{"keys", "none", "AC_JWKS_URL"},
		{"clock", "2h ahead", "NTP"},
		{"schema", "incompatible schema", "replace this Global Controller"},
		{"schema", "unknown", "migrate status"},
		{"server", "draining", "use another replica"},
		{"store", "starting", "wait until"},
		{"heartbeats", "starting", "wait until"},
	} {
		if got := adviceForState(tc.name, tc.state); !strings.Contains(got, tc.want) {
			t.Errorf("adviceForState(%s, %s) = %q, want %q in it", tc.name, tc.state, got, tc.want)
		}
	}
}
