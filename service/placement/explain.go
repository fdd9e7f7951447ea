package placement

import (
	"fmt"
	"strings"
)

// Reason returns the decision in one line, for people and for callers.
func (d Decision) Reason() string {
	if d.ControllerID == "" {
		return d.refusal()
	}

	text := fmt.Sprintf("least loaded of %d eligible in %s", d.Eligible, d.Region)
	if d.Eligible == 0 || d.Eligible > smallFleet {
		text = fmt.Sprintf("least loaded of %d random eligible in %s", len(d.Compared), d.Region)
	}
	text += fmt.Sprintf(": %.0f %%", 100*d.Compared[0].Load)
	if len(d.Compared) > 1 {
		text += fmt.Sprintf(", next %.0f %%", 100*d.Compared[1].Load)
	}
	if len(d.Regions) > 1 {
		text += "; " + d.Regions[0].String()
	}
	return text
}

// refusal sums up why no controller is eligible.
func (d Decision) refusal() string {
	counts := make([]string, len(d.Regions))
	for i, count := range d.Regions {
		counts[i] = count.String()
	}
	return strings.Join(counts, "; ")
}

// String returns for example "no eligible controller in eu-west-1: 22 registered, 3 draining, 2 unhealthy, 17 full".
func (c RegionCount) String() string {
	parts := []string{fmt.Sprintf("%d registered", c.Registered)}
	for _, reason := range Reasons() {
		if n := c.Ineligible[reason]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, reason))
		}
	}
	return fmt.Sprintf("no eligible controller in %s: %s", c.Region, strings.Join(parts, ", "))
}
