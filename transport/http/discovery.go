package httptransport

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"darktower.example/global-controller/endpoints"
	"darktower.example/global-controller/service"
)

const (
	// minTargetsAge is the minimum time for which a list is reused. Any client may send any number of requests; the store is read
	// once in this time.
	minTargetsAge = time.Second
	// A list is reused for targetsAgeFactor times the time that it took, up to maxTargetsAge. To list 50,000 controllers takes one core
	// about half a second.
	targetsAgeFactor = 10
	maxTargetsAge    = 15 * time.Second
	// targetsTimeout limits the time to list the whole fleet. It leaves the waiting requests time to respond.
	targetsTimeout = 7 * time.Second
	// targetsPageSize is the number of controllers that are read at once.
	targetsPageSize = 1000
)

// targetGroup is a controller in the form of Prometheus's HTTP service discovery.
type targetGroup struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// discovery serves /sd/controllers. If the fleet cannot be listed completely, it responds with 503, and Prometheus keeps its
// targets. With a part of the fleet, Prometheus would drop the other targets.
type discovery struct {
	controllers func(ctx context.Context, filter service.ControllerFilter) ([]service.Controller, error)
	// authorize returns an error if the caller may not list the fleet. nil: every caller may.
	authorize func(ctx context.Context) error
	logger    log.Logger

	mu         sync.Mutex // Held while the store is read, so that concurrent requests share one list.
	validUntil time.Time
	body       []byte
	err        error
}

func newDiscovery(e endpoints.Endpoints, cfg Config) *discovery {
	d := &discovery{controllers: cfg.Controllers, logger: cfg.Logger}
	if cfg.SDNeedsToken {
		// A caller that may list the fleet may also get it in this form, and is charged for it.
		d.authorize = func(ctx context.Context) error {
			_, err := e.ListControllers.Call(ctx, service.ListQuery{PageSize: 1}, nil)
			return err
		}
	}
	return d
}

// ServeHTTP implements [http.Handler].
func (d *discovery) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if d.authorize != nil {
		if err := d.authorize(r.Context()); err != nil {
			writeError(w, err)
			return
		}
	}

	body, err := d.list()
	if err != nil {
		// Whatever the cause, the fleet is unknown at present.
		writeError(w, service.ErrUnavailable)
		return
	}

	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	// The error is ignored: it means that the caller has gone.
	_, _ = w.Write(body)
}

// list returns the whole fleet as JSON; it reuses a recent list.
func (d *discovery) list() ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Now().Before(d.validUntil) {
		return d.body, d.err
	}

	began := time.Now()
	// The list is for all waiting requests, so it does not use the context of one of them.
	ctx, cancel := context.WithTimeout(context.Background(), targetsTimeout)
	defer cancel()
	d.body, d.err = d.render(ctx)

	age := minTargetsAge
	if d.err != nil {
		_ = level.Error(d.logger).Log("msg", "list targets failed", "err", d.err)
	} else {
		age = min(max(minTargetsAge, targetsAgeFactor*time.Since(began)), maxTargetsAge)
	}
	d.validUntil = time.Now().Add(age)
	return d.body, d.err
}

// render reads the whole fleet and encodes it.
func (d *discovery) render(ctx context.Context) ([]byte, error) {
	groups := []targetGroup{}
	for filter := (service.ControllerFilter{Limit: targetsPageSize}); ; {
		found, err := d.controllers(ctx, filter)
		if err != nil {
			return nil, fmt.Errorf("list controllers after %q: %w", filter.AfterID, err)
		}
		for _, c := range found {
			groups = append(groups, targetOf(c))
		}
		if len(found) < filter.Limit {
			break
		}
		filter.AfterID = found[len(found)-1].ControllerID
	}

	return json.Marshal(groups)
}

// targetOf returns the target of a controller. To Prometheus an empty label is the same as a missing one.
func targetOf(c service.Controller) targetGroup {
	host, port, scheme := hostAndPort(c.GRPCEndpoint)

	return targetGroup{
		Targets: []string{net.JoinHostPort(host, port)},
		Labels: map[string]string{
			"__meta_gc_controller_id":         c.ControllerID,
			"__meta_gc_region":                c.Region,
			"__meta_gc_health":                string(c.Health),
			"__meta_gc_reported_health":       string(c.Facts.Reported),
			"__meta_gc_stale":                 strconv.FormatBool(c.Facts.Stale),
			"__meta_gc_draining":              strconv.FormatBool(c.Health == service.HealthDraining),
			"__meta_gc_grpc_endpoint":         c.GRPCEndpoint,
			"__meta_gc_webtransport_endpoint": c.WebTransportEndpoint,
			"__meta_gc_scheme":                scheme,
			// Relabelling can add the port of the metrics to it.
			"__meta_gc_host": bracketIPv6(host),
		},
	}
}

// hostAndPort splits an endpoint. Validation allows only URLs with http and https.
func hostAndPort(endpoint string) (host, port, scheme string) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return endpoint, "80", "http"
	}
	defaultPort := map[string]string{"http": "80", "https": "443"}[u.Scheme]
	return u.Hostname(), cmp.Or(u.Port(), defaultPort, "80"), u.Scheme
}

// bracketIPv6 returns a host in the form that it has before a port.
func bracketIPv6(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}
