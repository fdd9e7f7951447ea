package operatorcli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// barWidth is how many columns a bar of load has.
const barWidth = 12

func (t *tool) regionsCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use: "regions", Short: "show the regions: capacity, load, and what is left if the largest controller fails", Args: arguments(0, 0, "no arguments"),
		Long: `regions adds up the controllers of each region. Those that are healthy or degraded take meetings: their limits are the
capacity. The load is what runs on all controllers that are not stale, draining ones included, as it may have to go
elsewhere. SPARE is how many meetings more there would be room for if the largest controller failed; N-1 tells whether
a region would bear that, for meetings and for participants.`,
		Example: `  gcctl regions
  gcctl regions -o json | jq -r '.[] | select(.survives_largest_loss | not) | .region'`,
		RunE: func(c *cobra.Command, _ []string) error { return t.regions(c.Context(), output) },
	}
	outputFlag(c, &output, "json", "yaml")
	return c
}

func (t *tool) regions(ctx context.Context, output string) error {
	if err := form(output, "json", "yaml"); err != nil {
		return err
	}
	s, err := t.open(false)
	if err != nil {
		return err
	}
	defer s.close()
	got, err := read(ctx, s, "", &pb.ListRegionsRequest{}, s.fleet.ListRegions)
	if err != nil {
		return err
	}
	if output != "" {
		bodies := make([]regionBody, 0, len(got.GetRegions()))
		for _, r := range got.GetRegions() {
			bodies = append(bodies, regionToBody(r))
		}
		return writeAs(t.Out, output, bodies)
	}
	if len(got.GetRegions()) == 0 {
		t.note("no controllers, so no regions")
		return nil
	}
	table := newTable([]int{2, 4, 5}, "REGION", "CONTROLLERS", "MEETINGS", "", "PARTICIPANTS", "SPARE", "N-1")
	for _, r := range got.GetRegions() {
		table.add(t.regionRow(r)...)
	}
	return table.write(t.Out, t.paint())
}

func (t *tool) regionRow(r *pb.Region) []cell {
	part, text := used(r.GetMeetings())
	loaded := cell{text: text}
	if t.OutTerminal {
		loaded.text = bar(part) + " " + text
	}
	switch {
	case part > 0.9:
		loaded.style = red
	case part > 0.7:
		loaded.style = yellow
	}
	survives := cell{"yes", green}
	if !r.GetSurvivesLargestLoss() {
		survives = cell{"NO", red}
	}
	row := cells(r.GetRegion(), regionStates(r), fmt.Sprintf("%d/%d", r.GetMeetings().GetCurrent(), r.GetMeetings().GetMax()), "",
		fmt.Sprintf("%d/%d", r.GetParticipants().GetCurrent(), r.GetParticipants().GetMax()), fmt.Sprint(r.GetMeetings().GetFreeWithoutLargest()))
	row[3] = loaded
	return append(row, survives)
}

func regionStates(r *pb.Region) string {
	var parts []string
	for _, state := range []struct {
		count uint32
		word  string
	}{{r.GetHealthy(), "healthy"}, {r.GetDegraded(), "degraded"}, {r.GetPending(), "pending"}, {r.GetUnhealthy(), "unhealthy"}, {r.GetDraining(), "draining"}} {
		if state.count > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", state.count, state.word))
		}
	}
	return strings.Join(parts, ", ")
}

// used is which part of its capacity a region uses; everything, when it has none and something runs.
func used(c *pb.RegionCapacity) (part float64, text string) {
	switch {
	case c.GetMax() > 0:
		part = float64(c.GetCurrent()) / float64(c.GetMax())
	case c.GetCurrent() > 0:
		part = 1
	}
	return part, fmt.Sprintf("%.0f%%", 100*part)
}

func bar(part float64) string {
	full := int(min(1, part)*barWidth + 0.5)
	return strings.Repeat("█", full) + strings.Repeat("░", barWidth-full)
}
