package operatorcli

import (
	"fmt"
	"strings"
	"time"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// fleetTable returns a table with a row for each controller. now is a time of the store's clock; if it is zero, each controller's
// own as_of counts.
func fleetTable(controllers []*pb.Controller, isWide bool, now time.Time) *table {
	head := []string{"ID", "REGION", "STATE", "MEETINGS", "PARTICIPANTS", "CPU", "MEM", "LAST HEARTBEAT"}
	if isWide {
		head = append(head, "REPORTED", "GEN", "INCARNATION", "CREATED", "GRPC", "WEBTRANSPORT")
	}

	t := newTable([]int{3, 4, 5, 6, 7}, append(head, "NOTES")...)
	for _, c := range controllers {
		row := fleetRow(c, now)
		if isWide {
			row = append(row, cells(
				healthWord(c.GetReportedHealth()),
				fmt.Sprint(c.GetGeneration()),
				orDash(c.GetIncarnation()),
				formatTime(c.GetCreatedAt().AsTime()),
				c.GetGrpcEndpoint(),
				orDash(c.GetWebtransportEndpoint()),
			)...)
		}

		t.add(append(row, cell{text: strings.Join(controllerNotes(c), "; ")})...)
	}
	return t
}

// fleetRow returns the cells that the narrow and the wide table have in common.
func fleetRow(c *pb.Controller, now time.Time) []cell {
	state := cell{text: healthWord(c.GetHealth())}
	state.style = stateStyle(state.text)
	lastHeartbeat := cell{text: formatHeartbeatAge(c, now)}
	if c.GetStale() {
		lastHeartbeat.style = red
	}
	cpu, memory := c.CpuUsagePercent, c.MemoryUsagePercent //nolint:protogetter // Unset is not 0.

	return []cell{
		{text: c.GetControllerId()},
		{text: c.GetRegion()},
		state,
		{text: formatLoad(c.GetCurrentMeetings(), c.GetMaxMeetings())},
		{text: formatLoad(c.GetCurrentParticipants(), c.GetMaxParticipants())},
		{text: formatPercent(cpu)},
		{text: formatPercent(memory)},
		lastHeartbeat,
	}
}

func formatLoad(current, limit uint32) string { return fmt.Sprintf("%d/%d", current, limit) }

func formatPercent(p *float64) string {
	if p == nil {
		return "-"
	}
	return fmt.Sprintf("%.0f%%", *p)
}

func formatHeartbeatAge(c *pb.Controller, now time.Time) string {
	switch {
	case c.GetLastHeartbeatAt() == nil:
		return "-"
	case now.IsZero():
		return formatAge(heartbeatAge(c))
	}
	return formatAge(now.Sub(c.GetLastHeartbeatAt().AsTime()))
}

// controllerNotes returns facts about a controller that its state does not show.
func controllerNotes(c *pb.Controller) (notes []string) {
	if note := describeDrain(c); note != "" {
		notes = append(notes, note)
	}
	if c.GetStale() {
		notes = append(notes, "stale")
	}
	if n := c.GetIncarnationConflicts(); n > 0 {
		notes = append(notes, formatCount(int64(min(n, 1<<62)), "call", "calls")+" from another process")
	}
	return notes
}

// describeDrain returns the progress of a drain, its deadline and its reason; empty if the controller is not draining.
func describeDrain(c *pb.Controller) string {
	d := c.GetDrain()
	isDrained := c.GetDrained()
	switch {
	case d == nil && c.GetHealth() != pb.Health_HEALTH_DRAINING:
		return ""
	case d == nil && isDrained:
		return "drains itself, drained"
	case d == nil:
		return "drains itself"
	}

	note := "draining"
	if isDrained {
		note = "drained"
	}

	switch {
	case d.GetDeadlinePassed():
		note += ", deadline passed"
	case d.GetDeadline() != nil:
		note += ", deadline " + formatDeadline(c, d)
	}
	if d.GetReason() != "" {
		note += " (" + d.GetReason() + ")"
	}
	return note
}

// formatDeadline formats a deadline of the current day without the date.
func formatDeadline(c *pb.Controller, d *pb.Drain) string {
	deadline, now := d.GetDeadline().AsTime().UTC(), c.GetAsOf().AsTime().UTC()
	if deadline.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return deadline.Format("15:04:05Z")
	}
	return formatTime(deadline)
}

// summarizeStates counts controllers by state.
func summarizeStates(controllers []*pb.Controller) string {
	if len(controllers) == 0 {
		return "no controllers"
	}

	count := make(map[string]int)
	for _, c := range controllers {
		count[healthWord(c.GetHealth())]++
	}
	var parts []string
	for _, state := range append(healthWords(), "unknown") {
		if count[state] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count[state], state))
		}
	}
	return formatCount(int64(len(controllers)), "controller", "controllers") + ": " + strings.Join(parts, ", ")
}
