package operatorcli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

func (c *cli) regionsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "regions",
		Short: "show each region's capacity, load, and headroom without its largest controller",
		Long: `regions shows the sums over the controllers of each region. The capacity is the sum of the limits of the serving
controllers: those that are healthy or degraded. The load is what runs on all controllers that are not stale. It includes
draining controllers, because their meetings may have to move.

HEADROOM is how many further meetings fit if the largest controller fails. N-1 reports whether the load, meetings and
participants, fits then.`,
		Example: `  gcctl regions
  gcctl regions -o json | jq -r '.[] | select(.survives_largest_loss | not) | .region'`,
	}

	listing[*pb.ListRegionsRequest, *pb.ListRegionsResponse]{
		request:   &pb.ListRegionsRequest{},
		method:    pb.FleetServiceClient.ListRegions,
		toBody:    func(r *pb.ListRegionsResponse) any { return toBodies(r.GetRegions(), regionToBody) },
		toTable:   func(r *pb.ListRegionsResponse) *table { return regionTable(r.GetRegions(), c.OutTerminal) },
		emptyNote: "no controllers, so no regions",
	}.addTo(cmd, c)
	return cmd
}

// regionTable returns nil if there are no regions.
func regionTable(regions []*pb.Region, withBars bool) *table {
	if len(regions) == 0 {
		return nil
	}

	t := newTable([]int{2, 4, 5}, "REGION", "CONTROLLERS", "MEETINGS", "", "PARTICIPANTS", "HEADROOM", "N-1")
	for _, r := range regions {
		meetings, participants := r.GetMeetings(), r.GetParticipants()
		fits := cell{"yes", green}
		if !r.GetSurvivesLargestLoss() {
			fits = cell{"NO", red}
		}

		t.add(
			cell{text: r.GetRegion()},
			cell{text: countByState(r)},
			cell{text: fmt.Sprintf("%d/%d", meetings.GetCurrent(), meetings.GetMax())},
			utilizationCell(meetings, withBars),
			cell{text: fmt.Sprintf("%d/%d", participants.GetCurrent(), participants.GetMax())},
			cell{text: fmt.Sprint(meetings.GetFreeWithoutLargest())},
			fits,
		)
	}
	return t
}

// countByState formats the number of controllers in each state that has any.
func countByState(r *pb.Region) string {
	states := []struct {
		count uint32
		word  string
	}{
		{r.GetHealthy(), "healthy"},
		{r.GetDegraded(), "degraded"},
		{r.GetPending(), "pending"},
		{r.GetUnhealthy(), "unhealthy"},
		{r.GetDraining(), "draining"},
	}

	var parts []string
	for _, state := range states {
		if state.count > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", state.count, state.word))
		}
	}
	return strings.Join(parts, ", ")
}

// utilizationCell shows which part of a capacity is in use, in a terminal with a bar.
func utilizationCell(c *pb.RegionCapacity, withBar bool) cell {
	used := utilization(c)
	result := cell{text: fmt.Sprintf("%.0f%%", 100*used)}
	if withBar {
		result.text = formatBar(used) + " " + result.text
	}

	switch {
	case used > 0.9:
		result.style = red
	case used > 0.7:
		result.style = yellow
	}
	return result
}

// utilization returns load divided by capacity. A load without any capacity is 1.
func utilization(c *pb.RegionCapacity) float64 {
	switch {
	case c.GetMax() > 0:
		return float64(c.GetCurrent()) / float64(c.GetMax())
	case c.GetCurrent() > 0:
		return 1
	}
	return 0
}

func formatBar(part float64) string {
	const columns = 12
	full := int(min(1, part)*columns + 0.5)
	return strings.Repeat("█", full) + strings.Repeat("░", columns-full)
}
