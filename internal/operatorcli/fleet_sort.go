package operatorcli

import (
	"cmp"
	"slices"
	"strings"
	"time"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// sortOrders returns the order of each word that --sort accepts.
func sortOrders() map[string]func(a, b *pb.Controller) int {
	return map[string]func(a, b *pb.Controller) int{
		"id":             compareIDs,
		"region":         compareBy((*pb.Controller).GetRegion),
		"state":          compareBy(stateRank),
		"meetings":       compareBy((*pb.Controller).GetCurrentMeetings),
		"participants":   compareBy((*pb.Controller).GetCurrentParticipants),
		"cpu":            compareBy((*pb.Controller).GetCpuUsagePercent),
		"memory":         compareBy((*pb.Controller).GetMemoryUsagePercent),
		"last-heartbeat": compareBy(heartbeatAge),
	}
}

// sortWords returns the words that help and completion list.
func sortWords() []string {
	return []string{"id", "region", "state", "meetings", "participants", "cpu", "memory", "last-heartbeat"}
}

func compareBy[T cmp.Ordered](value func(*pb.Controller) T) func(a, b *pb.Controller) int {
	return func(a, b *pb.Controller) int { return cmp.Compare(value(a), value(b)) }
}

func compareIDs(a, b *pb.Controller) int {
	return cmp.Compare(a.GetControllerId(), b.GetControllerId())
}

// stateRank returns the position of a controller's state in the order in which states are listed.
func stateRank(c *pb.Controller) int { return slices.Index(healthWords(), healthWord(c.GetHealth())) }

// heartbeatAge returns the time since a controller's last heartbeat. Both times are of the store's clock.
func heartbeatAge(c *pb.Controller) time.Duration {
	if c.GetLastHeartbeatAt() == nil || c.GetAsOf() == nil {
		return 0
	}
	return c.GetAsOf().AsTime().Sub(c.GetLastHeartbeatAt().AsTime())
}

// sortControllers sorts by one of the sort words, and controllers that compare equal by id. A word after "-" sorts in descending
// order.
func sortControllers(controllers []*pb.Controller, order string) {
	word, isDescending := strings.CutPrefix(order, "-")
	compare := sortOrders()[word]
	slices.SortFunc(controllers, func(a, b *pb.Controller) int {
		result := compare(a, b)
		if isDescending {
			result = -result
		}
		return cmp.Or(result, compareIDs(a, b))
	})
}

func checkSortWord(order string) error {
	if sortOrders()[strings.TrimPrefix(order, "-")] == nil {
		return usageError("--sort is %q: allowed is %s, after a - for descending order", clean(order), joinOr(sortWords()))
	}
	return nil
}
