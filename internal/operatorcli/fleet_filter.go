package operatorcli

import (
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// fleetFilter selects controllers.
type fleetFilter struct {
	region          string
	idPattern       string
	states          []string
	acceptsMeetings bool
	draining        bool
}

func (f *fleetFilter) addFlags(c *cli, cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.region, "region", "", "only this `REGION`")
	flags.StringSliceVar(&f.states, "state", nil, "only these `STATES`, separated by commas: "+joinOr(healthWords()))
	flags.BoolVar(&f.acceptsMeetings, "accepts-meetings", false, "only controllers that accept meetings and are not full")
	flags.BoolVar(&f.acceptsMeetings, "placeable", false, "the former name of --accepts-meetings")
	_ = flags.MarkHidden("placeable")
	flags.BoolVar(&f.draining, "draining", false, "only draining controllers, whether an operator drains them or they drain themselves")
	flags.StringVar(&f.idPattern, "id", "", "only ids that begin with `ID`, or match it as a pattern with * and ?")
	_ = cmd.RegisterFlagCompletionFunc("region", c.completeRegions)
	_ = cmd.RegisterFlagCompletionFunc("state", completeWords(healthWords()...))
	_ = cmd.RegisterFlagCompletionFunc("id", c.completeControllers)
}

func (f *fleetFilter) check() error {
	for _, state := range f.states {
		if !slices.Contains(healthWords(), state) {
			return usageError("--state is %q: allowed is %s", clean(state), joinOr(healthWords()))
		}
	}
	if _, err := path.Match(f.idPattern, ""); err != nil {
		return usageError("--id is %q, which is not a valid pattern", clean(f.idPattern))
	}
	return nil
}

// serverHealth returns the one state that the server can filter by; unspecified if the filter has none or several.
func (f *fleetFilter) serverHealth() pb.Health {
	if len(f.states) == 1 {
		return healthFromWord(f.states[0])
	}
	if f.draining && len(f.states) == 0 {
		return pb.Health_HEALTH_DRAINING
	}
	return pb.Health_HEALTH_UNSPECIFIED
}

// matches reports whether the filter selects a controller. It is false for nil.
func (f *fleetFilter) matches(c *pb.Controller) bool {
	switch {
	case c == nil,
		f.region != "" && c.GetRegion() != f.region,
		len(f.states) > 0 && !slices.Contains(f.states, healthWord(c.GetHealth())),
		f.acceptsMeetings && !c.GetPlacement().GetPlaceable(),
		f.draining && c.GetHealth() != pb.Health_HEALTH_DRAINING:
		return false
	}
	return f.matchesID(c.GetControllerId())
}

// matchesTransition reports whether the filter selects the controller of a transition, before or after it. This covers controllers
// that have left the fleet.
func (f *fleetFilter) matchesTransition(t *pb.Transition) bool {
	if t == nil || f.region != "" && t.GetRegion() != f.region || !f.matchesID(t.GetControllerId()) {
		return false
	}

	involves := func(states ...string) bool {
		return slices.Contains(states, healthWord(t.GetFrom())) || slices.Contains(states, healthWord(t.GetTo()))
	}
	return (len(f.states) == 0 || involves(f.states...)) &&
		(!f.draining || involves("draining")) &&
		(!f.acceptsMeetings || involves("healthy", "degraded"))
}

func (f *fleetFilter) matchesID(id string) bool {
	if !strings.ContainsAny(f.idPattern, "*?[") {
		return strings.HasPrefix(id, f.idPattern)
	}
	matched, err := path.Match(f.idPattern, id)
	return matched && err == nil
}

// selectFrom returns the controllers that match. It changes the given list.
func (f *fleetFilter) selectFrom(all []*pb.Controller) []*pb.Controller {
	return slices.DeleteFunc(all, func(c *pb.Controller) bool { return !f.matches(c) })
}
