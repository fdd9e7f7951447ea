package httptransport

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-kit/log"
	"github.com/google/go-cmp/cmp"

	"darktower.example/global-controller/endpoints"
	"darktower.example/global-controller/service"
)

// fakeFleet lists size controllers, and fails at the one with number failAt.
type fakeFleet struct {
	mu     sync.Mutex
	size   int
	failAt int
	reads  int
	delay  time.Duration // Of each read.
}

func (f *fakeFleet) list(_ context.Context, filter service.ControllerFilter) ([]service.Controller, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	time.Sleep(f.delay)
	next := 0
	if filter.AfterID != "" {
		_, _ = fmt.Sscanf(filter.AfterID, "mc-%d", &next)
		next++
	}

	var found []service.Controller
	for ; next < f.size && len(found) < filter.Limit; next++ {
		if f.failAt > 0 && next >= f.failAt {
			return nil, fmt.Errorf("SELECT secret: %w", service.ErrUnavailable)
		}
		found = append(found, service.Controller{ControllerID: fmt.Sprintf("mc-%06d", next), GRPCEndpoint: "http://mc"})
	}

	return found, nil
}

func discoveryHandler(svc service.Service, fleet *fakeFleet, needsToken bool) http.Handler {
	return NewHandler(endpoints.New(svc, noMiddleware), Config{
		Logger:       log.NewNopLogger(),
		Metrics:      http.NotFoundHandler(),
		Controllers:  fleet.list,
		SDNeedsToken: needsToken,
	})
}

func TestDiscovery_Targets(t *testing.T) {
	tests := []struct{ endpoint, target, host, scheme string }{
		{"http://mc-1.example", "mc-1.example:80", "mc-1.example", "http"},
		{"HTTPS://mc-1.example/", "mc-1.example:443", "mc-1.example", "https"},
		{"https://mc-1.example:50051", "mc-1.example:50051", "mc-1.example", "https"},
		{"http://192.0.2.1:7", "192.0.2.1:7", "192.0.2.1", "http"},
		{"http://[2001:db8::1]", "[2001:db8::1]:80", "[2001:db8::1]", "http"},
		{"http://[::ffff:192.0.2.1]:7/", "[::ffff:192.0.2.1]:7", "[::ffff:192.0.2.1]", "http"},
	}

	for _, tc := range tests {
		if !service.IsValidEndpointURL(tc.endpoint) {
			t.Errorf("%s is not an endpoint that a controller can have", tc.endpoint)
		}
		got := targetOf(service.Controller{
			ControllerID: "mc-1", Region: "eu", GRPCEndpoint: tc.endpoint, WebTransportEndpoint: "https://wt", Health: service.HealthDraining,
			Facts: service.Facts{Reported: service.HealthDegraded, OperatorDraining: true, Stale: true},
		})
		want := targetGroup{Targets: []string{tc.target}, Labels: map[string]string{
			"__meta_gc_controller_id": "mc-1", "__meta_gc_region": "eu", "__meta_gc_health": "draining", "__meta_gc_reported_health": "degraded",
			"__meta_gc_stale": "true", "__meta_gc_draining": "true", "__meta_gc_grpc_endpoint": tc.endpoint,
			"__meta_gc_webtransport_endpoint": "https://wt", "__meta_gc_scheme": tc.scheme, "__meta_gc_host": tc.host,
		}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("target of %s (-want +got):\n%s", tc.endpoint, diff)
		}
	}
}

func TestDiscovery_WholeFleet(t *testing.T) {
	for _, size := range []int{0, 1, targetsPageSize, 2*targetsPageSize + 1} {
		w := call(discoveryHandler(&fakeService{}, &fakeFleet{size: size}, false), "GET", "/sd/controllers", "")
		var got []targetGroup
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got == nil {
			t.Fatalf("the response is not a list: %v %.100s", err, w.Body)
		}
		if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" || len(got) != size {
			t.Errorf("a fleet of %d = %d %s with %d groups, want 200 application/json with all of them",
				size, w.Code, w.Header().Get("Content-Type"), len(got))
		}
	}
}

func TestDiscovery_StoreFailsMidway(t *testing.T) {
	w := call(discoveryHandler(&fakeService{}, &fakeFleet{
		size:   3 * targetsPageSize,
		failAt: 2 * targetsPageSize,
	}, false), "GET", "/sd/controllers", "")
	if w.Code != 503 || bytes.Contains(w.Body.Bytes(), []byte("secret")) || w.Header().Get("Retry-After") == "" {
		t.Errorf("with a store that fails midway = %d %v %s, want 503 with Retry-After and no cause", w.Code, w.Header(), w.Body)
	}
}

func TestDiscovery_ReadsStoreOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fleet := &fakeFleet{size: 3}
		h := discoveryHandler(&fakeService{}, fleet, false)
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if w := call(h, "GET", "/sd/controllers", ""); w.Code != 200 {
					t.Errorf("status = %d, want 200", w.Code)
				}
			})
		}

		all.Wait()
		if fleet.reads != 1 {
			t.Errorf("50 requests read the store %d times, want once", fleet.reads)
		}

		fleet.failAt = 1
		time.Sleep(minTargetsAge)
		for range 2 {
			if w := call(h, "GET", "/sd/controllers", ""); w.Code != 503 {
				t.Errorf("with the store down = %d, want 503", w.Code)
			}
		}

		if fleet.reads != 2 {
			t.Errorf("the store was read %d times, want 2: a failure is reused as long as a list", fleet.reads)
		}
	})
}

func TestDiscovery_SlowListIsReusedLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fleet := &fakeFleet{size: 1, delay: 500 * time.Millisecond}
		h := discoveryHandler(&fakeService{}, fleet, false)
		call(h, "GET", "/sd/controllers", "")
		time.Sleep(4 * time.Second)
		call(h, "GET", "/sd/controllers", "")
		if fleet.reads != 1 {
			t.Errorf("a list that took half a second was read %d times in 4 s, want once", fleet.reads)
		}

		time.Sleep(time.Second)
		fleet.delay = 6 * time.Second
		call(h, "GET", "/sd/controllers", "")
		time.Sleep(maxTargetsAge)
		call(h, "GET", "/sd/controllers", "")
		if fleet.reads != 3 {
			t.Errorf("the store was read %d times, want 3: no list is reused for more than %v", fleet.reads, maxTargetsAge)
		}
	})
}

func TestDiscovery_NeedsToken(t *testing.T) {
	tests := []struct {
		err    error
		status int
	}{
		{nil, 200},
		{service.ErrUnauthenticated, 401},
		{service.ErrForbidden, 403},
		{service.ErrRateLimited, 429},
		{service.ErrUnavailable, 503},
	}

	for _, tc := range tests {
		svc, fleet := &refusingService{err: tc.err}, &fakeFleet{size: 1}
		if w := call(discoveryHandler(svc, fleet, true), "GET", "/sd/controllers", ""); w.Code != tc.status {
			t.Errorf("listing refused with %v = %d, want %d", tc.err, w.Code, tc.status)
		}
		if tc.err != nil && fleet.reads > 0 {
			t.Errorf("the store was read for a caller that was refused with %v", tc.err)
		}
		if w := call(discoveryHandler(svc, fleet, false), "GET", "/sd/controllers", ""); w.Code != 200 {
			t.Errorf("without the need for a token = %d, want 200", w.Code)
		}
	}
}

// refusingService stands for the middleware, which refuses a call before it reaches the service.
type refusingService struct {
	service.Service
	err error
}

func (r *refusingService) ListControllers(_ context.Context, q service.ListQuery) (service.ControllerPage, error) {
	return service.ControllerPage{}, errors.Join(q.Validate(), r.err)
}
