package operatorcli

import "time"

// The names of clocks other than that of this machine.
const (
	clockGC    = "Global Controller"
	clockAC    = "auth controller"
	clockStore = "store"
)

// clockWarningLimit is the largest difference between clocks without a warning.
const clockWarningLimit = 30 * time.Second

const adviceBothClocks = "synchronize the clocks of both machines with NTP"

// clockOffset is how far a clock is ahead of this machine's clock, and the maximum error of that.
type clockOffset struct {
	ahead    time.Duration
	maxError time.Duration
}

// measureOffset returns the offset of a clock that showed a time between sent and received, with a resolution.
func measureOffset(shown, sent, received time.Time, resolution time.Duration) clockOffset {
	half := received.Sub(sent) / 2
	return clockOffset{ahead: shown.Sub(sent.Add(half)), maxError: half + resolution}
}

// certainDifference returns how far clock a is at least ahead of b; negative if it is behind. It is 0 within the maximum errors.
func certainDifference(a, b clockOffset) time.Duration {
	difference := a.ahead - b.ahead
	maxError := a.maxError + b.maxError
	switch {
	case difference > maxError:
		return difference - maxError
	case difference < -maxError:
		return difference + maxError
	}
	return 0
}

// checkClocks compares the clocks that the other checks have read.
func (d *doctor) checkClocks() {
	const check = "clocks"
	gc, isKnown := d.clocks[clockGC]
	if !isKnown {
		d.report(check, resultSkipped, "set http_address: HTTP responses have the time of the Global Controller",
			"the clock of the Global Controller is not known")
		return
	}

	before := len(d.findings)
	if ac, isKnown := d.clocks[clockAC]; isKnown {
		d.compareTokenClocks(ac, gc)
	}
	if ahead := certainDifference(gc, clockOffset{}); ahead.Abs() > clockWarningLimit {
		d.report(check, resultWarning,
			"synchronize this machine's clock with NTP: --deadline and --since are evaluated on the service's clock",
			"the Global Controller is %s this machine", describeOffset(ahead))
	}

	if store, isKnown := d.clocks[clockStore]; isKnown {
		if ahead := certainDifference(store, gc); ahead.Abs() > clockWarningLimit {
			d.report(check, resultWarning, adviceBothClocks, "the store is %s the Global Controller", describeOffset(ahead))
		}
	}

	if len(d.findings) == before {
		d.report(check, resultOK, "", "this machine and %s agree within %v",
			formatCount(int64(len(d.clocks)), "other clock", "other clocks"), clockWarningLimit)
	}
}

// compareTokenClocks compares the clock by which tokens are issued with the one by which they are verified.
func (d *doctor) compareTokenClocks(ac, gc clockOffset) {
	switch ahead := certainDifference(ac, gc); {
	case ahead > d.maxTokenSkew:
		d.report("clocks", resultFail, adviceBothClocks+"; JWT_CLOCK_SKEW_SECONDS allows more, up to 600",
			"the auth controller is %s ahead of the Global Controller, which accepts no token from more than %v in the future",
			formatAge(ahead), d.maxTokenSkew)
	case ahead.Abs() > clockWarningLimit:
		d.report("clocks", resultWarning, adviceBothClocks+": tokens expire too early or too late",
			"the auth controller is %s the Global Controller", describeOffset(ahead))
	}
}

// describeOffset returns a text such as "2m00s ahead of".
func describeOffset(ahead time.Duration) string {
	if ahead < 0 {
		return formatAge(ahead.Abs()) + " behind"
	}
	return formatAge(ahead) + " ahead of"
}
