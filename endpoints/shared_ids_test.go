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
	r := &testFleet{t: t, now: time.Unix(1000, 0)}
	find := FindSharedIDs(30*time.Second, func() time.Time { return r.now }, func(id string) { r.found = append(r.found, id) })
	operation := func(name string) func(any, int, string) {
		e := find(Operation{Name: name})(endpointReturning(nil))
		return func(request any, port int, transport string) {
			call := &Call{Transport: transport, Connection: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: port}}
			if _, err := e(WithCall(t.Context(), call), request); err != nil {
				t.Fatalf("%s = %v", name, err)
			}
		}
	}
	r.beat, r.register = operation("ComprehensiveHeartbeat"), operation("RegisterMC")
	return r
}

func (r *testFleet) beats(id string, port int) {
	r.beat(Request[service.ComprehensiveHeartbeat]{
		Value: service.ComprehensiveHeartbeat{FastHeartbeat: service.FastHeartbeat{ControllerID: id}},
	}, port, "grpc")
}

// registers makes the process at the port register with its own endpoint.
func (r *testFleet) registers(id string, port int) {
	r.registersAs(id, port, fmt.Sprint("http://", port))
}

func (r *testFleet) registersAs(id string, port int, endpoint string) {
	r.register(Request[service.Registration]{Value: service.Registration{ControllerID: id, GRPCEndpoint: endpoint}}, port, "grpc")
}

func (r *testFleet) wait(d time.Duration) { r.now = r.now.Add(d) }

func (r *testFleet) want(ids ...string) {
	r.t.Helper()
	if !slices.Equal(r.found, ids) {
		r.t.Errorf("found %q, want %q", r.found, ids)
	}
}

func TestFindSharedIDs_TwoProcesses(t *testing.T) {
	r := newTestFleet(t)
	for range 2 {
		r.beats("mc", 1)
		r.wait(20 * time.Second)
		r.beats("mc", 2)
		r.wait(10 * time.Second)
	}

	r.want("mc") // By the second return.
	r.beats("mc", 1)
	r.want("mc", "mc")
	r.wait(30 * time.Second) // The other process has stopped.
	for range 5 {
		r.beats("mc", 1)
		r.wait(30 * time.Second)
	}

	r.want("mc", "mc")
}

func TestFindSharedIDs_LastRegistrantStopsAtOnce(t *testing.T) {
	r := newTestFleet(t)
	r.registers("mc", 1)
	r.beats("mc", 1)
	r.wait(10 * time.Second)
	r.registers("mc", 2)
	r.wait(20 * time.Second)
	r.beats("mc", 1)
	r.want("mc")
}

func TestFindSharedIDs_LastRegistrantStopsAfterAHeartbeat(t *testing.T) {
	r := newTestFleet(t)
	r.registers("mc", 1)
	r.beats("mc", 1)
	r.wait(10 * time.Second)
	r.registers("mc", 2)
	r.beats("mc", 2)
	r.wait(20 * time.Second)
	r.beats("mc", 1)
	r.want("mc")
}

func TestFindSharedIDs_OneProcess(t *testing.T) {
	for name, live := range map[string]func(r *testFleet){
		"restarts": func(r *testFleet) {
			for port := range 10 {
				r.registers("mc", port)
				r.beats("mc", port)
				r.wait(30 * time.Second)
			}
		},
		"connects again": func(r *testFleet) {
			for port := range 10 {
				r.beats("mc", port)
				r.wait(30 * time.Second)
			}
		},
		"behind a proxy with two connections": func(r *testFleet) {
			for n := range 20 {
				r.beats("mc", n%2)
				r.wait(30 * time.Second)
			}
		},
		"with a shorter interval behind a proxy of several controllers": func(r *testFleet) {
			for n := range 20 {
				r.registers("other", n%2)
				r.beats("other", 1-n%2)
				r.beats("mc", n%2)
				r.wait(10 * time.Second)
			}
		},
		"restarts with another endpoint behind a proxy": func(r *testFleet) {
			r.registers("other", 1)
			for n := range 5 {
				r.registersAs("mc", 1, fmt.Sprint("http://", n))
				for range 3 {
					r.beats("mc", 1)
					r.wait(30 * time.Second)
				}
			}
		},
		"restarts with another endpoint": func(r *testFleet) {
			for port := range 5 {
				r.registers("mc", port)
				for range 3 {
					r.beats("mc", port)
					r.wait(30 * time.Second)
				}
			}
		},
		"registers over a connection of its own": func(r *testFleet) {
			for range 5 {
				r.registersAs("mc", 1, "http://mc")
				r.beats("mc", 2)
				r.wait(20 * time.Second) // Its row is lost again and again.
			}
		},
		"names incarnations": func(r *testFleet) {
			for n := range 20 {
				r.beat(Request[service.ComprehensiveHeartbeat]{Value: service.ComprehensiveHeartbeat{
					FastHeartbeat: service.FastHeartbeat{ControllerID: "mc", Incarnation: fmt.Sprint(n % 2)},
				}}, n%2, "grpc")
				r.wait(15 * time.Second)
			}
		},
		"over HTTP, which has many connections": func(r *testFleet) {
			for n := range 20 {
				r.beat(Request[service.ComprehensiveHeartbeat]{Value: service.ComprehensiveHeartbeat{
					FastHeartbeat: service.FastHeartbeat{ControllerID: "mc"},
				}}, n%2, "http")
				r.wait(15 * time.Second)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTestFleet(t)
			live(r)
			r.want()
		})
	}
}

func BenchmarkFindSharedIDs(b *testing.B) {
	p := newConnectionTracker(30*time.Second, time.Now)
	call := &Call{Transport: "grpc", Connection: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 7}}
	var request any = Request[service.ComprehensiveHeartbeat]{
		Value: service.ComprehensiveHeartbeat{FastHeartbeat: service.FastHeartbeat{ControllerID: "mc-1"}},
	}
	b.ReportAllocs()
	for b.Loop() {
		p.record(call, request)
	}
}
