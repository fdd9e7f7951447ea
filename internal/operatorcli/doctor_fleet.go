package operatorcli

import (
	"context"
	"fmt"
	"regexp"
	"time"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// The clocks beside that of this machine.
const (
	clockGC    = "Global Controller"
	clockAC    = "auth controller"
	clockStore = "store"
)

// largeDifference is how far clocks may be apart without a word about it.
const largeDifference = 30 * time.Second

// reading is what another clock showed: how far it is ahead of this machine's, and how wrong that may be.
type reading struct{ ahead, error time.Duration }

func readingOf(shown, before, after time.Time, resolution time.Duration) reading {
	half := after.Sub(before) / 2
	return reading{shown.Sub(before.Add(half)), half + resolution}
}

// apart is how far one clock is ahead of another for certain; 0 when that may be chance.
func apart(a, b reading) time.Duration {
	d := a.ahead - b.ahead
	slack := a.error + b.error
	switch {
	case d > slack:
		return d - slack
	case d < -slack:
		return d + slack
	}
	return 0
}

func (d *doctor) checkClocks() {
	gc, known := d.clocks[clockGC]
	if !known {
		d.found("clocks", skipped, "the HTTP of the Global Controller tells its clock: http_address", "the clock of the Global Controller is not known")
		return
	}
	wrong := false
	if ac, known := d.clocks[clockAC]; known {
		switch ahead := apart(ac, gc); {
		case ahead > d.skew:
			wrong = true
			d.found("clocks", bad, "have both machines set their clocks by NTP; JWT_CLOCK_SKEW_SECONDS allows more, up to 600",
				"the auth controller is %s ahead of the Global Controller, which takes no token from more than %v in the future", about(ahead), d.skew)
		case ahead.Abs() > largeDifference:
			wrong = true
			d.found("clocks", warning, "have both machines set their clocks by NTP: tokens end too early or too late", "the auth controller is %s the Global Controller", aheadOrBehind(ahead))
		}
	}
	if ahead := apart(gc, reading{}); ahead.Abs() > largeDifference {
		wrong = true
		d.found("clocks", warning, "set the clock of this machine by NTP: a time that you give with --deadline or --since is taken by the service's", "the Global Controller is %s this machine", aheadOrBehind(ahead))
	}
	if store, known := d.clocks[clockStore]; known {
		if ahead := apart(store, gc); ahead.Abs() > largeDifference {
			wrong = true
			d.found("clocks", warning, "have both machines set their clocks by NTP", "the store is %s the Global Controller", aheadOrBehind(ahead))
		}
	}
	if !wrong {
		d.found("clocks", fine, "", "this machine and %s agree to %v", counted(int64(len(d.clocks)), "other clock", "other clocks"), largeDifference)
	}
}

func about(d time.Duration) string { return age(d.Abs()) }

func aheadOrBehind(d time.Duration) string {
	if d < 0 {
		return about(d) + " behind"
	}
	return about(d) + " ahead of"
}

var (
	buildInfo = regexp.MustCompile(`(?m)^gc_build_info\{(?:[^}]*,)?version="([^"]*)"`)
	holding   = regexp.MustCompile(`(?m)^gc_health_checker_hold 1$`)
)

// checkMetrics looks at the version and at the health checker.
func (d *doctor) checkMetrics(ctx context.Context) {
	if d.target.httpAddress == "" {
		return
	}
	code, body, err := d.get(ctx, d.http, d.url("/metrics"), clockGC)
	found := buildInfo.FindSubmatch(body)
	switch {
	case err != nil || found == nil:
		d.found("versions", skipped, "", "gcctl is %s; /metrics does not tell that of the Global Controller (status %d)", d.tool.Version, code)
		return
	case string(found[1]) != d.tool.Version:
		d.found("versions", warning, "use the gcctl of the same release", "gcctl is %s, the Global Controller %s", d.tool.Version, string(found[1]))
	default:
		d.found("versions", fine, "", "gcctl and the Global Controller are both %s", d.tool.Version)
	}
	d.checkJudging(body)
	if holding.Match(body) {
		d.found("health checker", warning, "wait: after a full staleness threshold it calls controllers stale again", "on hold, as after its start and after an outage of its own")
		return
	}
	d.found("health checker", fine, "", "at work")
}

// checkFleet looks at what the fleet itself says.
func (d *doctor) checkFleet(ctx context.Context) {
	d.checkReplicas(ctx)
	regions, err := read(ctx, d.session, "", &pb.ListRegionsRequest{}, d.session.fleet.ListRegions)
	if err != nil {
		d.found("fleet", bad, "the log of the Global Controller says more", "%s", withoutAdvice(err))
		return
	}
	controllers, err := d.session.controllers(ctx, "", pb.Health_HEALTH_UNSPECIFIED)
	if err != nil {
		d.found("fleet", bad, "the log of the Global Controller says more", "%s", withoutAdvice(err))
		return
	}
	var stale, contested []string
	for _, c := range controllers {
		if c.GetStale() {
			stale = append(stale, c.GetControllerId())
		}
		if at := c.GetLastIncarnationConflictAt(); at != nil && c.GetAsOf().AsTime().Sub(at.AsTime()) < time.Hour {
			contested = append(contested, c.GetControllerId())
		}
	}
	if len(stale) > 0 {
		d.found("fleet", warning, "look after them; gcctl deregister takes out those that are gone for good", "%s: %s", counted(int64(len(stale)), "controller is stale", "controllers are stale"), some(stale))
	}
	if len(contested) > 0 {
		d.found("fleet", warning, "find the second process; see gcctl fleet show", "two processes use one id, within the last hour: %s", some(contested))
	}
	var weak []string
	for _, r := range regions.GetRegions() {
		if !r.GetSurvivesLargestLoss() {
			weak = append(weak, r.GetRegion())
		}
	}
	if len(weak) > 0 {
		d.found("regions", warning, "add controllers there, or undrain some; see gcctl regions", "could not lose the largest controller: %s", some(weak))
	}
	if len(stale)+len(contested)+len(weak) == 0 {
		d.found("fleet", fine, "", "%s", tally(controllers))
	}
}

// some names a few.
func some(names []string) string {
	const few = 5
	if len(names) <= few {
		return joinAnd(names)
	}
	return fmt.Sprintf("%s and %d more", joinAnd(names[:few]), len(names)-few)
}
