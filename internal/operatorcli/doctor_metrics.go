package operatorcli

import (
	"context"
	"regexp"
	"strconv"
)

var buildInfo = regexp.MustCompile(`(?m)^gc_build_info\{(?:[^}]*,)?version="([^"]*)"`)

// checkMetrics runs the checks that read /metrics.
func (d *doctor) checkMetrics(ctx context.Context) {
	if d.target.httpAddress == "" {
		return
	}

	code, body, err := d.getHTTP(ctx, d.gcHTTP, d.httpURL("/metrics"), clockGC)
	version := buildInfo.FindSubmatch(body)
	if err != nil || version == nil {
		d.report("versions", resultSkipped, "", "gcctl is %s; /metrics does not show the version of the Global Controller (status %d)",
			d.cli.Version, code)
		return
	}
	d.checkVersions(string(version[1]))
	d.checkRefusedCallers(body)
	d.checkHealthChecker(body)
}

func (d *doctor) checkVersions(server string) {
	if server != d.cli.Version {
		d.report("versions", resultWarning, "use gcctl of the same release", "gcctl is %s, the Global Controller %s", d.cli.Version, server)
		return
	}
	d.report("versions", resultOK, "", "gcctl and the Global Controller are both %s", server)
}

func (d *doctor) checkHealthChecker(body []byte) {
	if isOnHold, _ := metricValue(body, "gc_health_checker_hold", ""); isOnHold == 1 {
		d.report("health checker", resultWarning, "wait: after a full staleness threshold it marks controllers stale again",
			"on hold, as after a start or an outage of the Global Controller")
		return
	}
	d.report("health checker", resultOK, "", "running")
}

// metricValue returns the value of one series in the text of /metrics.
func metricValue(body []byte, name, labels string) (value float64, isFound bool) {
	found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name+labels) + ` (\S+)$`).FindSubmatch(body)
	if found == nil {
		return 0, false
	}
	value, err := strconv.ParseFloat(string(found[1]), 64)
	return value, err == nil
}
