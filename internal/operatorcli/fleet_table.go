package operatorcli

import (
	"fmt"
	"strings"
	"time"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// fleetTable shows controllers as rows. now is by the store's clock; zero: that of each controller.
func fleetTable(controllers []*pb.Controller, wide bool, now time.Time) *table {
	head := []string{"ID", "REGION", "STATE", "MEETINGS", "PARTICIPANTS", "CPU", "MEM", "HEARD"}
	if wide {
		head = append(head, "REPORTED", "GEN", "INCARNATION", "CREATED", "GRPC", "WEBTRANSPORT")
	}
	t := newTable([]int{3, 4, 5, 6, 7}, append(head, "NOTES")...)
	for _, c := range controllers {
		state := healthWord(c.GetHealth())
		row := cells(c.GetControllerId(), c.GetRegion(), state,
			load(c.GetCurrentMeetings(), c.GetMaxMeetings()), load(c.GetCurrentParticipants(), c.GetMaxParticipants()),
			percent(c.CpuUsagePercent), percent(c.MemoryUsagePercent), heard(c, now)) //nolint:protogetter // Unset is not 0.
		row[2].style = stateStyle(state)
		if c.GetStale() {
			row[7].style = red
		}
		if wide {
			row = append(row, cells(healthWord(c.GetReportedHealth()), fmt.Sprint(c.GetGeneration()), dash(c.GetIncarnation()), instant(c.GetCreatedAt().AsTime()),
				c.GetGrpcEndpoint(), dash(c.GetWebtransportEndpoint()))...)
		}
		t.add(append(row, cell{text: strings.Join(notes(c), "; ")})...)
	}
	return t
}

func load(current, most uint32) string { return fmt.Sprintf("%d/%d", current, most) }

func percent(p *float64) string {
	if p == nil {
		return "-"
	}
	return fmt.Sprintf("%.0f%%", *p)
}

func heard(c *pb.Controller, now time.Time) string {
	if c.GetLastHeartbeatAt() == nil {
		return "-"
	}
	if now.IsZero() {
		return age(silence(c))
	}
	return age(now.Sub(c.GetLastHeartbeatAt().AsTime()))
}

func dash(text string) string { return first(text, "-") }

// notes are what the state does not tell.
func notes(c *pb.Controller) (told []string) {
	if d := c.GetDrain(); d != nil {
		note := "draining"
		if c.GetDrained() {
			note = "drained"
		}
		switch {
		case d.GetDeadlinePassed() && !c.GetDrained():
			note += ", not drained though its deadline is over"
		case d.GetDeadlinePassed():
			note += ", its deadline is over"
		case d.GetDeadline() != nil:
			note += " until " + untilWhen(c, d)
		}
		if d.GetReason() != "" {
			note += " (" + d.GetReason() + ")"
		}
		told = append(told, note)
	} else if c.GetHealth() == pb.Health_HEALTH_DRAINING {
		note := "drains by itself"
		if c.GetDrained() {
			note += ", drained"
		}
		told = append(told, note)
	}
	if c.GetStale() {
		told = append(told, "stale")
	}
	if n := c.GetIncarnationConflicts(); n > 0 {
		told = append(told, counted(int64(min(n, 1<<62)), "call", "calls")+" of another process")
	}
	return told
}

// untilWhen leaves out the day when it is the same.
func untilWhen(c *pb.Controller, d *pb.Drain) string {
	deadline, now := d.GetDeadline().AsTime().UTC(), c.GetAsOf().AsTime().UTC()
	if deadline.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return deadline.Format("15:04:05Z")
	}
	return instant(deadline)
}

// tally counts controllers by state.
func tally(controllers []*pb.Controller) string {
	if len(controllers) == 0 {
		return "no controllers"
	}
	count := make(map[string]int)
	for _, c := range controllers {
		count[healthWord(c.GetHealth())]++
	}
	var parts []string
	for _, state := range append(states(), "unknown") {
		if count[state] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count[state], state))
		}
	}
	return counted(int64(len(controllers)), "controller", "controllers") + ": " + strings.Join(parts, ", ")
}
