package gcctl_test

import (
	"strings"
	"testing"
)

func TestCompletion_StatesRegionsAndIDs(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnvironment(t)
	e.registerSix()

	for _, tc := range []struct {
		args string
		want []string
	}{
		{"fleet show mc-e", []string{"mc-eu-1\thealthy, eu\n", "mc-eu-2", "mc-eu-3", ":4\n"}},
		{"drain mc-eu-1 mc-e", []string{"mc-eu-2", "mc-eu-3"}},
		{"fleet ls --region ", []string{"eu\nus\n"}},
		{"fleet ls --state h", []string{"healthy\n"}},
		{"fleet ls --so", []string{"--sort"}},
		{"", []string{"fleet", "dev", "drain"}},
		{"simulate gc", []string{"gc-restart"}},
		{"dev --kill", []string{"--kill-one"}},
		{"simulate --", []string{"--real-time"}},
	} {
		args := append([]string{"__complete"}, strings.Split(tc.args, " ")...)
		checkContains(t, tc.args, e.gcctl(0, args...).out, tc.want...)
	}

	if got := e.gcctl(0, "__complete", "drain", "mc-eu-1", "mc-e").out; strings.Contains(got, "mc-eu-1") {
		t.Errorf("an argument that is given already is completed again:\n%s", got)
	}

	for _, shell := range []string{"bash", "zsh", "fish"} {
		checkContains(t, shell, e.gcctl(0, "completion", shell).out, "gcctl")
	}

	e.stopServer()
	if got := e.gcctl(0, "__complete", "fleet", "show", ""); got.out != ":4\n" {
		t.Errorf("completion without a Global Controller printed %q, want nothing", got.out)
	}
}
