package operatorcli

import (
	"context"
	"time"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// conflictWarningTime is for how long after a conflict doctor warns about an id that two processes use.
const conflictWarningTime = time.Hour

// checkFleet checks the controllers and the regions.
func (d *doctor) checkFleet(ctx context.Context) {
	regions, err := readWithRetry(ctx, d.conn, "", &pb.ListRegionsRequest{}, d.conn.fleet.ListRegions)
	if err != nil {
		d.report("fleet", resultFail, adviceServerLog, "%s", withoutAdvice(err))
		return
	}
	controllers, err := d.conn.listControllers(ctx, "", pb.Health_HEALTH_UNSPECIFIED)
	if err != nil {
		d.report("fleet", resultFail, adviceServerLog, "%s", withoutAdvice(err))
		return
	}

	before := len(d.findings)
	d.checkControllers(controllers)
	d.checkHeadroom(regions.GetRegions())
	if len(d.findings) == before {
		d.report("fleet", resultOK, "", "%s", summarizeStates(controllers))
	}
}

func (d *doctor) checkControllers(controllers []*pb.Controller) {
	var stale, contested []string
	for _, c := range controllers {
		if c.GetStale() {
			stale = append(stale, c.GetControllerId())
		}
		if at := c.GetLastIncarnationConflictAt(); at != nil && c.GetAsOf().AsTime().Sub(at.AsTime()) < conflictWarningTime {
			contested = append(contested, c.GetControllerId())
		}
	}

	if len(stale) > 0 {
		d.report("fleet", resultWarning, "check them; remove those that no longer exist with gcctl deregister",
			"%s: %s", formatCount(int64(len(stale)), "controller is stale", "controllers are stale"), joinFirst(stale))
	}
	if len(contested) > 0 {
		d.report("fleet", resultWarning, "find the second process with gcctl fleet show",
			"two processes have used the same id within the last hour: %s", joinFirst(contested))
	}
}

// checkHeadroom checks whether the load of each region fits without its largest controller.
func (d *doctor) checkHeadroom(regions []*pb.Region) {
	var weak []string
	for _, r := range regions {
		if !r.GetSurvivesLargestLoss() {
			weak = append(weak, r.GetRegion())
		}
	}
	if len(weak) > 0 {
		d.report("regions", resultWarning, "add controllers there, or undrain some; see gcctl regions", "no N-1 headroom in: %s", joinFirst(weak))
	}
}
