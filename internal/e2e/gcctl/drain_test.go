package gcctl_test

import (
	"strings"
	"testing"

	pb "darktower.example/global-controller/proto/darktower/v1"
)

func TestDrain_PlanConfirmExecute(t *testing.T) {
	runOnBothStores(t, func(t *testing.T, e *environment) {
		e.registerSix()
		checkContains(t, "dry run", e.gcctl(0, "drain", "mc-eu-2", "--dry-run").out,
			"Plan: drain mc-eu-2 in eu", "20 meetings and 100 participants", "3 serving now, 2 after", "safe             yes")
		e.checkDraining("")
		checkContains(t, "without a terminal and --yes", e.gcctl(2, "drain", "mc-eu-2").err, "--yes")

		e.useTerminal(strings.NewReader("no\n"))
		checkContains(t, "declined", e.gcctl(1, "drain", "mc-eu-2").err, "Drain 1 controller? [y/N]", "nothing was changed")
		e.useTerminal(strings.NewReader(""))
		e.gcctl(1, "drain", "mc-eu-2")
		e.checkDraining("")

		e.useTerminal(strings.NewReader("y\n"))
		checkContains(t, "confirmed", e.gcctl(0, "drain", "mc-eu-2", "--reason", "rack 4").out, "mc-eu-2 is draining: 20 meetings")
		e.checkDraining("mc-eu-2")

		e.useNoTerminal()
		unhealthy := newTestController("mc-ap-1", "ap", 3)
		unhealthy.health = pb.HealthStatus_HEALTH_STATUS_UNHEALTHY
		e.register(unhealthy)
		checkContains(t, "a controller that is not serving", e.gcctl(0, "drain", "mc-ap-1", "--dry-run").out,
			"yes: it is not serving, so ap loses no capacity")
	})
}

// checkDraining compares the ids of the controllers that are draining.
func (e *environment) checkDraining(want string) {
	e.t.Helper()
	if got := e.listIDs("--draining"); got != want {
		e.t.Errorf("draining = %q, want %q", got, want)
	}
}

// TestDrain_Several drains controllers of a region in which one drain is safe and two are not. Each plan assumes that the
// controllers before it are drained.
func TestDrain_Several(t *testing.T) {
	runOnBothStores(t, func(t *testing.T, e *environment) {
		e.registerSix()
		for _, flag := range []string{"--dry-run", "--yes"} {
			got := e.gcctl(4, "drain", "mc-us-1", "mc-us-2", "mc-us-3", flag)
			checkContains(t, "plans", got.out, "3 serving now, 2 after", "2 serving now, 1 after", "1 serving now, 0 after")
			checkContains(t, "refusal", got.err,
				"each plan assumes that the controllers before it are drained", "not safe to drain: mc-us-2 and mc-us-3;")
			e.checkDraining("")
		}

		got := e.gcctl(0, "drain", "mc-us-1", "mc-us-1", "--yes")
		if n := strings.Count(got.out, "Plan:"); n != 1 {
			t.Errorf("%d plans for one controller that was named twice:\n%s", n, got.out)
		}
		checkContains(t, "refusal", e.gcctl(4, "drain", "mc-us-1", "mc-us-2", "--yes").err, "not safe to drain: mc-us-2; --force")
		e.checkDraining("mc-us-1")
	})
}

func TestDrain_UsageErrors(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnvironment(t)
	e.registerSix()
	e.gcctl(3, "drain", "mc-eu-9", "--yes")
	e.gcctl(2, "drain", "mc-eu-2", "--yes", "--deadline", "yesterday")
	e.gcctl(2, "drain", "mc-eu-2", "--yes", "--deadline", "2001-01-02T15:04:05Z")
	e.gcctl(2, "drain", "mc-eu-2", "mc-eu-3", "--yes", "--expected-generation", "1")
	checkContains(t, "--dry-run --wait", e.gcctl(2, "drain", "mc-eu-2", "--dry-run", "--wait").err, "--dry-run and --wait cannot be combined")
	checkContains(t, "no number", e.gcctl(2, "drain", "mc-eu-2", "--expected-generation", "abc").err,
		`--expected-generation is "abc": allowed is a whole number, 0 or more; see`)
	checkContains(t, "an unknown format", e.gcctl(2, "drain", "mc-eu-2", "-o", "wide").err, `-o is "wide": allowed is json or yaml`)
	e.checkDraining("")
}

func TestDrain_UnsafeNeedsForce(t *testing.T) {
	runOnBothStores(t, func(t *testing.T, e *environment) {
		e.register(newTestController("mc-1", "eu", 10), newTestController("mc-2", "eu", 10))
		for _, flag := range []string{"--dry-run", "--yes"} {
			got := e.gcctl(4, "drain", "mc-1", flag)
			checkContains(t, "plan", got.out,
				"safe             NO: without its largest controller, eu would have room for 0 meetings (20 are running)")
			checkContains(t, "refusal", got.err, "--force")
		}
		e.checkDraining("")
		e.gcctl(0, "drain", "mc-1", "--dry-run", "--force")

		plans := decodeJSON[[]struct {
			ControllerID string `json:"controller_id"`
			Plan         struct {
				Safe    bool     `json:"safe"`
				Reasons []string `json:"reasons"`
			} `json:"plan"`
		}](t, e.gcctl(4, "drain", "mc-1", "--dry-run", "-o", "json").out)
		if len(plans) != 1 || plans[0].ControllerID != "mc-1" || plans[0].Plan.Safe || len(plans[0].Plan.Reasons) == 0 {
			t.Errorf("the plan as JSON = %+v, want an unsafe one of mc-1", plans)
		}

		e.gcctl(2, "drain", "mc-1", "--force", "-o", "json")
		forced := e.gcctl(7, "drain", "mc-1", "--yes", "--force", "-o", "json", "--wait", "--deadline", "1s")
		drained := decodeJSON[[]listedController](t, forced.out)
		if len(drained) != 1 || drained[0].Health != "draining" || !strings.Contains(forced.err, "the deadline has passed") {
			t.Errorf("drain -o json --wait = %+v, and on standard error %q", drained, forced.err)
		}
		e.checkDraining("mc-1")
	})
}

func TestUndrain_SaysWhetherItEndedDrain(t *testing.T) {
	runOnBothStores(t, func(t *testing.T, e *environment) {
		e.registerSix()
		e.gcctl(0, "drain", "mc-eu-2", "--yes")
		e.gcctl(0, "drain", "mc-us-1", "--yes")
		got := e.gcctl(0, "__complete", "undrain", "mc-").out
		if !strings.HasPrefix(got, "mc-eu-2") || !strings.Contains(got, "mc-us-1") || strings.Contains(got, "mc-us-2") {
			t.Errorf("undrain completes\n%swant the draining controllers", got)
		}

		got = e.gcctl(0, "undrain", "mc-eu-2", "mc-us-1", "mc-us-2").out
		want := "ended the drain of mc-eu-2: it is healthy\n" +
			"ended the drain of mc-us-1: it is healthy\n" +
			"no operator drains mc-us-2: it is healthy\n"
		if got != want {
			t.Errorf("undrain printed\n%swant\n%s", got, want)
		}
		checkContains(t, "again", e.gcctl(0, "undrain", "mc-eu-2").out, "no operator drains mc-eu-2: it is healthy")
		e.gcctl(3, "undrain", "mc-eu-9")
	})
}

// actBeforeReply is the input of an operator that confirms after another change.
type actBeforeReply struct{ act func() }

func (a actBeforeReply) Read(p []byte) (int, error) {
	a.act()
	return copy(p, "y\n"), nil
}

// confirmAfter makes the next command run in a terminal, in which the given command runs before the confirmation.
func (e *environment) confirmAfter(args ...string) {
	e.useTerminal(actBeforeReply{func() {
		e.useNoTerminal()
		e.gcctl(0, args...)
	}})
}

func TestChanges_ConcurrentOperators(t *testing.T) {
	runOnBothStores(t, func(t *testing.T, e *environment) {
		e.registerSix()
		e.gcctl(4, "drain", "mc-eu-1", "--yes", "--expected-generation", "7")
		e.confirmAfter("drain", "mc-eu-1", "--yes", "--reason", "I was first")
		checkContains(t, "the second drain", e.gcctl(4, "drain", "mc-eu-1", "--reason", "I am late").err,
			"controller mc-eu-1 has changed in the meantime", "gcctl fleet show mc-eu-1")
		e.useNoTerminal()
		checkContains(t, "the first drain", e.gcctl(0, "fleet", "show", "mc-eu-1").out, "I was first", "generation       1")

		e.gcctl(4, "undrain", "mc-eu-1", "--expected-generation", "0")
		e.gcctl(4, "deregister", "mc-eu-1", "--yes", "--expected-generation", "0")
		e.gcctl(2, "deregister", "mc-eu-1", "mc-eu-2", "--yes", "--expected-generation", "1")
		e.gcctl(0, "undrain", "mc-eu-1", "--yes", "--expected-generation", "1") // undrain accepts --yes without effect.

		// The plan was safe when it was shown.
		e.confirmAfter("drain", "mc-us-3", "--yes")
		checkContains(t, "not safe any more", e.gcctl(4, "drain", "mc-us-1").err,
			"refused: The drain is not safe: without its largest controller, us would have room for 0 meetings (60 are running); ",
			"; set force to drain anyway")

		// Of several controllers, those before the changed one are drained.
		e.confirmAfter("drain", "mc-us-2", "--yes", "--force")
		checkContains(t, "the second of three", e.gcctl(4, "drain", "mc-us-1", "mc-us-2", "mc-eu-1", "--force").err,
			"drained 1 of 3 controllers; stopped at mc-us-2")
		e.checkDraining("mc-us-1 mc-us-2 mc-us-3")
	})
}

func TestDrainWait_EndsWhenAllAreDrained(t *testing.T) {
	runOnBothStores(t, func(t *testing.T, e *environment) {
		e.registerSix()
		r := e.startCommand("drain", "mc-eu-1", "mc-eu-2", "--yes", "--force", "--wait")
		e.waitUntil("progress", func() bool { return strings.Contains(r.errs.String(), "mc-eu-2: left: 20 meetings") })
		e.sendHeartbeat(newTestController("mc-eu-1", "eu", 0))
		e.waitUntil("one is drained", func() bool { return strings.Contains(r.out.String(), "mc-eu-1 is drained") })
		e.sendHeartbeat(newTestController("mc-eu-2", "eu", 1))
		e.waitUntil("more progress", func() bool {
			return strings.Contains(r.errs.String(), "mc-eu-2: left: 1 meeting and 5 participants")
		})

		e.gcctl(0, "deregister", "mc-eu-2", "--yes")
		if code := r.wait(); code != 3 || !strings.Contains(r.errs.String(), "mc-eu-2 left the fleet before it was drained") {
			t.Errorf("drain --wait, deregistered = %d, want 3: the load is unknown\n%s%s", code, r.out, r.errs)
		}
	})
}

func TestDrainWait_Deadline(t *testing.T) {
	runOnBothStores(t, func(t *testing.T, e *environment) {
		e.registerSix()
		r := e.startCommand("drain", "mc-eu-3", "--yes", "--force", "--wait", "--deadline", "2s")
		const want = "mc-eu-3 is not drained: the deadline has passed; left: 30 meetings"
		if code := r.wait(); code != 7 || !strings.Contains(r.errs.String(), want) {
			t.Errorf("drain --wait --deadline = %d, want 7 and %q\n%s%s", code, want, r.out, r.errs)
		}
	})
}

func TestDrainWait_InterruptAndUndrain(t *testing.T) {
	runOnBothStores(t, func(t *testing.T, e *environment) {
		e.registerSix()
		e.useTerminal(strings.NewReader(""))
		r := e.startCommand("drain", "mc-us-1", "--yes", "--force", "--wait")
		e.waitUntil("a progress line", func() bool {
			return strings.Contains(r.errs.String(), "\r\x1b[Kmc-us-1: left: 10 meetings")
		})
		if code := r.interrupt(); code != 130 || !strings.Contains(r.errs.String(), "the drain of mc-us-1 goes on") {
			t.Errorf("drain --wait, interrupted = %d, want 130\n%s%s", code, r.out, r.errs)
		}

		e.useNoTerminal()
		r = e.startCommand("drain", "mc-us-2", "--yes", "--force", "--wait")
		e.waitUntil("progress", func() bool { return strings.Contains(r.errs.String(), "mc-us-2: left") })
		e.gcctl(0, "undrain", "mc-us-2")
		if code := r.wait(); code != 4 || !strings.Contains(r.errs.String(), "ended before it was complete") {
			t.Errorf("drain --wait, undrained = %d, want 4\n%s%s", code, r.out, r.errs)
		}
	})
}

func TestDeregister_ConfirmationAndWarning(t *testing.T) {
	runOnBothStores(t, func(t *testing.T, e *environment) {
		e.registerSix()
		e.gcctl(2, "deregister", "mc-eu-1")
		e.useTerminal(strings.NewReader("n\n"))
		checkContains(t, "declined", e.gcctl(1, "deregister", "mc-eu-1").err,
			"mc-eu-1 is running: it sent a heartbeat", "register again", "Remove mc-eu-1 from the fleet? [y/N]")

		e.useTerminal(strings.NewReader("yes\n"))
		checkContains(t, "confirmed", e.gcctl(0, "deregister", "mc-eu-1", "mc-eu-2", "--reason", "returned").out,
			"mc-eu-1 is removed from the fleet", "mc-eu-2 is removed")
		e.gcctl(3, "deregister", "mc-eu-1", "--yes")

		e.useNoTerminal()
		checkContains(t, "history", e.gcctl(0, "history", "mc-eu-1").out, "healthy  →  -", "returned")
	})
}
