package operatorcli

import (
	"cmp"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// filter picks controllers.
type filter struct {
	region, id          string
	states              []string
	placeable, draining bool
}

func (f *filter) addFlags(t *tool, c *cobra.Command) {
	c.Flags().StringVar(&f.region, "region", "", "only this `REGION`")
	c.Flags().StringSliceVar(&f.states, "state", nil, "only these `STATES`, separated by commas: "+joinOr(states()))
	c.Flags().BoolVar(&f.placeable, "placeable", false, "only those that can be given a meeting")
	c.Flags().BoolVar(&f.draining, "draining", false, "only those that drain, by an operator's wish or their own")
	c.Flags().StringVar(&f.id, "id", "", "only ids that begin with `ID`, or a pattern with * and ?")
	_ = c.RegisterFlagCompletionFunc("region", t.completeRegions)
	_ = c.RegisterFlagCompletionFunc("state", words(states()...))
	_ = c.RegisterFlagCompletionFunc("id", t.completeControllers)
}

func (f *filter) check() error {
	for _, state := range f.states {
		if !slices.Contains(states(), state) {
			return wrongUse("--state is %q: allowed is %s", clean(state), joinOr(states()))
		}
	}
	if _, err := path.Match(f.id, ""); err != nil {
		return wrongUse("--id is %q, which is not a pattern", clean(f.id))
	}
	return nil
}

// health is what the server can filter by itself.
func (f *filter) health() pb.Health {
	if len(f.states) == 1 {
		return healthFromWord(f.states[0])
	}
	if f.draining && len(f.states) == 0 {
		return pb.Health_HEALTH_DRAINING
	}
	return pb.Health_HEALTH_UNSPECIFIED
}

func (f *filter) matches(c *pb.Controller) bool {
	switch {
	case c == nil, f.region != "" && c.GetRegion() != f.region,
		len(f.states) > 0 && !slices.Contains(f.states, healthWord(c.GetHealth())),
		f.placeable && !c.GetPlacement().GetPlaceable(),
		f.draining && c.GetHealth() != pb.Health_HEALTH_DRAINING:
		return false
	}
	return f.matchesID(c.GetControllerId())
}

// matchesTransition is for changes of what is not there any more.
func (f *filter) matchesTransition(t *pb.Transition) bool {
	if t == nil || f.region != "" && t.GetRegion() != f.region || !f.matchesID(t.GetControllerId()) {
		return false
	}
	among := func(allowed []string) bool {
		return slices.Contains(allowed, healthWord(t.GetFrom())) || slices.Contains(allowed, healthWord(t.GetTo()))
	}
	return (len(f.states) == 0 || among(f.states)) && (!f.draining || among([]string{"draining"})) && (!f.placeable || among([]string{"healthy", "degraded"}))
}

func (f *filter) matchesID(id string) bool {
	if !strings.ContainsAny(f.id, "*?[") {
		return strings.HasPrefix(id, f.id)
	}
	ok, err := path.Match(f.id, id)
	return ok && err == nil
}

func (f *filter) pick(all []*pb.Controller) []*pb.Controller {
	return slices.DeleteFunc(all, func(c *pb.Controller) bool { return !f.matches(c) })
}

// orders are what --sort takes. The most and the worst come first with a "-" in front.
func orders() map[string]func(a, b *pb.Controller) int {
	return map[string]func(a, b *pb.Controller) int{
		"id":       byID,
		"region":   func(a, b *pb.Controller) int { return cmp.Compare(a.GetRegion(), b.GetRegion()) },
		"state":    func(a, b *pb.Controller) int { return cmp.Compare(rank(a), rank(b)) },
		"meetings": func(a, b *pb.Controller) int { return cmp.Compare(a.GetCurrentMeetings(), b.GetCurrentMeetings()) },
		"participants": func(a, b *pb.Controller) int {
			return cmp.Compare(a.GetCurrentParticipants(), b.GetCurrentParticipants())
		},
		"cpu": func(a, b *pb.Controller) int { return cmp.Compare(a.GetCpuUsagePercent(), b.GetCpuUsagePercent()) },
		"memory": func(a, b *pb.Controller) int {
			return cmp.Compare(a.GetMemoryUsagePercent(), b.GetMemoryUsagePercent())
		},
		"heard": func(a, b *pb.Controller) int { return cmp.Compare(silence(a), silence(b)) },
	}
}

func sortWords() []string {
	return []string{"id", "region", "state", "meetings", "participants", "cpu", "memory", "heard"}
}

func byID(a, b *pb.Controller) int { return cmp.Compare(a.GetControllerId(), b.GetControllerId()) }

// rank has the states in the order in which they are told.
func rank(c *pb.Controller) int { return slices.Index(states(), healthWord(c.GetHealth())) }

// silence is how long a controller has not been heard, by the store's clock at both ends.
func silence(c *pb.Controller) time.Duration {
	if c.GetLastHeartbeatAt() == nil || c.GetAsOf() == nil {
		return 0
	}
	return c.GetAsOf().AsTime().Sub(c.GetLastHeartbeatAt().AsTime())
}

// order sorts by the given word, and by id where that says nothing.
func order(controllers []*pb.Controller, by string) {
	word, down := strings.CutPrefix(by, "-")
	compare := orders()[word]
	slices.SortFunc(controllers, func(a, b *pb.Controller) int {
		compared := compare(a, b)
		if down {
			compared = -compared
		}
		return cmp.Or(compared, byID(a, b))
	})
}

func checkSort(by string) error {
	if orders()[strings.TrimPrefix(by, "-")] == nil {
		return wrongUse("--sort is %q: allowed is %s, with a - in front for the highest first", clean(by), joinOr(sortWords()))
	}
	return nil
}
