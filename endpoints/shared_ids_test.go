package endpoints

import (
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"darktower.example/global-controller/service"
)

// testFleet is a fleet as one replica sees it.
type testFleet struct {
	t        *testing.T
	now      time.Time
	found    []string
	beat     func(request any, port int, transport string)
	register func(request any, port int, transport string)
}

func newTestFleet(t *testing.T) *testFleet {
	t.Helper()
	f := &testFleet{t: t, now: time.Unix(1000, 0)}
	find := FindSharedIDs(30*time.Second, func() time.Time { return f.now }, func(id string) { f.found = append(f.found, id) })
	operation := func(name string) func(any, int, string) {
		e := find(Operation{Name: name})(endpointReturning(nil))
		return func(request any, port int, transport string) {
			call := &Call{Transport: transport, Connection: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: port}}
			if _, err := e(WithCall(t.Context(), call), request); err != nil {
				t.Fatalf("%s = %v", name, err)
			}
		}
	}
	f.beat, f.register = operation("ComprehensiveHeartbeat"), operation("RegisterMC")
	return f
}

func (f *testFleet) beats(id string, port int) {
	f.beat(Request[service.ComprehensiveHeartbeat]{
		Value: service.ComprehensiveHeartbeat{FastHeartbeat: service.FastHeartbeat{ControllerID: id}},
	}, port, "grpc")
}

// registers makes the process at the port register with its own endpoint.
func (f *testFleet) registers(id string, port int) {
	f.registersAs(id, port, fmt.Sprint("http://", port))
}

func (f *testFleet) registersAs(id string, port int, endpoint string) {
	f.register(Request[service.Registration]{Value: service.Registration{ControllerID: id, GRPCEndpoint: endpoint}}, port, "grpc")
}

func (f *testFleet) wait(d time.Duration) { f.now = f.now.Add(d) }

func (f *testFleet) want(ids ...string) {
	f.t.Helper()
	if !slices.Equal(f.found, ids) {
		f.t.Errorf("found %q, want %q", f.found, ids)
	}
}

func TestFindSharedIDs_TwoProcesses(t *testing.T) {
	f := newTestFleet(t)
	for range 2 {
		f.beats("mc", 1)
		f.wait(20 * time.Second)
		f.beats("mc", 2)
		f.wait(10 * time.Second)
	}

	f.want("mc") // By the second return.

	f.beats("mc", 1)
	f.want("mc", "mc")

	f.wait(30 * time.Second) // The other process has stopped.
	for range 5 {
		f.beats("mc", 1)
		f.wait(30 * time.Second)
	}

	f.want("mc", "mc")
}

func TestFindSharedIDs_LastRegistrantStopsAtOnce(t *testing.T) {
	f := newTestFleet(t)
	f.registers("mc", 1)
	f.beats("mc", 1)

	f.wait(10 * time.Second)
	f.registers("mc", 2)

	f.wait(20 * time.Second)
	f.beats("mc", 1)
	f.want("mc")
}

func TestFindSharedIDs_LastRegistrantStopsAfterAHeartbeat(t *testing.T) {
	f := newTestFleet(t)
	f.registers("mc", 1)
	f.beats("mc", 1)

	f.wait(10 * time.Second)
	f.registers("mc", 2)
	f.beats("mc", 2)

	f.wait(20 * time.Second)
	f.beats("mc", 1)
	f.want("mc")
}

func TestFindSharedIDs_OneProcessIsNotShared(t *testing.T) {
	tests := map[string]func(f *testFleet){
		"restarts": func(f *testFleet) {
			for port := range 10 {
				f.registers("mc", port)
				f.beats("mc", port)
				f.wait(30 * time.Second)
			}
		},
		"connects again": func(f *testFleet) {
			for port := range 10 {
				f.beats("mc", port)
				f.wait(30 * time.Second)
			}
		},
		"behind a proxy with two connections": func(f *testFleet) {
			for n := range 20 {
				f.beats("mc", n%2)
				f.wait(30 * time.Second)
			}
		},
		"with a shorter interval behind a proxy of several controllers": func(f *testFleet) {
			for n := range 20 {
				f.registers("other", n%2)
				f.beats("other", 1-n%2)
				f.beats("mc", n%2)
				f.wait(10 * time.Second)
			}
		},
		"restarts with another endpoint behind a proxy": func(f *testFleet) {
			f.registers("other", 1)
			for n := range 5 {
				f.registersAs("mc", 1, fmt.Sprint("http://", n))
				for range 3 {
					f.beats("mc", 1)
					f.wait(30 * time.Second)
				}
			}
		},
		"restarts with another endpoint": func(f *testFleet) {
			for port := range 5 {
				f.registers("mc", port)
				for range 3 {
					f.beats("mc", port)
					f.wait(30 * time.Second)
				}
			}
		},
		"registers over a connection of its own": func(f *testFleet) {
			for range 5 {
				f.registersAs("mc", 1, "http://mc")
				f.beats("mc", 2)
				f.wait(20 * time.Second) // Its row is lost again and again.
			}
		},
		"names incarnations": func(f *testFleet) {
			for n := range 20 {
				f.beat(Request[service.ComprehensiveHeartbeat]{Value: service.ComprehensiveHeartbeat{
					FastHeartbeat: service.FastHeartbeat{ControllerID: "mc", Incarnation: fmt.Sprint(n % 2)},
				}}, n%2, "grpc")
				f.wait(15 * time.Second)
			}
		},
		"over HTTP, which has many connections": func(f *testFleet) {
			for n := range 20 {
				f.beat(Request[service.ComprehensiveHeartbeat]{Value: service.ComprehensiveHeartbeat{
					FastHeartbeat: service.FastHeartbeat{ControllerID: "mc"},
				}}, n%2, "http")
				f.wait(15 * time.Second)
			}
		},
	}

	for name, live := range tests {
		t.Run(name, func(t *testing.T) {
			f := newTestFleet(t)
			live(f)
			f.want()
		})
	}
}

func BenchmarkFindSharedIDs(b *testing.B) {
	tracker := newConnectionTracker(30*time.Second, time.Now)
	call := &Call{Transport: "grpc", Connection: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 7}}
	var request any = Request[service.ComprehensiveHeartbeat]{
		Value: service.ComprehensiveHeartbeat{FastHeartbeat: service.FastHeartbeat{ControllerID: "mc-1"}},
	}
	b.ReportAllocs()
	for b.Loop() {
		tracker.record(call, request)
	}
}
