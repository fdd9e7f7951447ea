package operatorcli

import (
	"fmt"
	"slices"
	"strings"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
)

// transitionTable returns a table with a row for each transition. Without ids, it has neither the id nor the region.
func transitionTable(transitions []*pb.Transition, withIDs bool) *table {
	head := []string{"TIME", "ID", "REGION", "FROM", "", "TO", "CAUSE", "ACTOR", "SILENT", "REPORTED", "REASON"}
	if !withIDs {
		head = slices.Delete(head, 1, 3)
	}

	t := newTable(nil, head...)
	for _, x := range transitions {
		from, to := orDash(healthWord(x.GetFrom())), orDash(healthWord(x.GetTo()))
		row := cells(
			formatTime(x.GetAt().AsTime()),
			x.GetControllerId(),
			x.GetRegion(),
			from,
			"→",
			to,
			x.GetCause(),
			orDash(x.GetActor()),
			formatAge(milliseconds(x.GetSilenceMs())),
			orDash(healthWord(x.GetReportedHealth())),
			x.GetReason(),
		)

		row[3].style, row[5].style = stateStyle(from), stateStyle(to)
		if !withIDs {
			row = slices.Delete(row, 1, 3)
		}
		t.add(row...)
	}
	return t
}

// transitionLine formats a transition on a line of its own, with columns that are wide enough for most values.
func transitionLine(x *pb.Transition, p painter) string {
	const statesWidth = 21
	from, to := orDash(healthWord(x.GetFrom())), orDash(healthWord(x.GetTo()))
	states := p.paint(stateStyle(from), from) + " → " + p.paint(stateStyle(to), to)
	padding := strings.Repeat(" ", max(0, statesWidth-countColumns(from+" → "+to)))

	line := fmt.Sprintf("%s  %-20s  %-12s  %s  %-9s  %s",
		formatTime(x.GetAt().AsTime()), clean(x.GetControllerId()), clean(x.GetRegion()), states+padding, clean(x.GetCause()),
		clean(transitionDetails(x)))
	return strings.TrimRight(line, " ")
}

// transitionDetails returns the actor, the reason, and what the controller last sent.
func transitionDetails(x *pb.Transition) string {
	var parts []string
	if x.GetActor() != "" {
		parts = append(parts, "by "+x.GetActor())
	}
	if x.GetReason() != "" {
		parts = append(parts, x.GetReason())
	}
	isRetirement := x.GetCause() == "retired" && strings.HasPrefix(x.GetReason(), service.RetiredReason)
	if x.GetCause() == "stale" || isRetirement {
		parts = append(parts, "no heartbeat for "+formatAge(milliseconds(x.GetSilenceMs())))
	}
	if reported := healthWord(x.GetReportedHealth()); reported != "" && reported != healthWord(x.GetTo()) {
		parts = append(parts, "reports "+reported)
	}
	return strings.Join(parts, ", ")
}
