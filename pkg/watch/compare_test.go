package watch

import (
	"reflect"
	"testing"

	"darktower.example/global-controller/internal/testfill"
	"darktower.example/global-controller/service"
)

// loadFields are the fields of a controller that heartbeats change, and the times of a read. A difference in them is no change.
var loadFields = map[string]bool{
	"CurrentMeetings":     true,
	"CurrentParticipants": true,
	"CPUUsagePercent":     true,
	"MemoryUsagePercent":  true,
	"LastHeartbeatAt":     true,
	"UpdatedAt":           true,
	"AsOf":                true,
}

// TestEqualExceptLoad_EveryField: a field that is compared by its pointer makes every read of a controller a change, and a field that
// is not compared makes its changes invisible to watches.
func TestEqualExceptLoad_EveryField(t *testing.T) {
	t.Parallel()
	controller, equal := filledController(t), filledController(t)
	if !equalExceptLoad(controller, equal) {
		t.Fatal("two equal controllers with different pointers differ: set each pointer to nil in withoutLoad, and compare its value")
	}
	if !equalLoads(controller, equal) {
		t.Error("two equal loads with different pointers differ: compare the values in equalLoads")
	}

	for i := range reflect.TypeFor[service.Controller]().NumField() {
		name := reflect.TypeFor[service.Controller]().Field(i).Name
		changed := filledController(t)
		testfill.Fill(t, reflect.ValueOf(changed).Elem().Field(i).Addr().Interface(), 2)
		if got := equalExceptLoad(controller, changed); got != loadFields[name] {
			t.Errorf("controllers with a different %s: equal except load is %v, want %v (see withoutLoad and loadFields)",
				name, got, loadFields[name])
		}
	}
}

// filledController returns a controller without an empty field. No two of them share a pointer.
func filledController(t *testing.T) *service.Controller {
	t.Helper()
	controller := &service.Controller{}
	testfill.Fill(t, controller, 1)
	controller.MaxMeetings, controller.MaxParticipants = 1000, 1000 // Not full.
	return controller
}
