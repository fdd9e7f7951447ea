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
	// targetsAge is how old a list may be at the least. Anybody may ask, and as often as they like; the store is asked once
	// in this time.
	targetsAge = time.Second
	// targetsShare has a list that took long kept for so many times as long, up to mostTargetsAge: listing 50,000 controllers
	// takes a core about half a second.
	targetsShare   = 10
	mostTargetsAge = 15 * time.Second
	// targetsTimeout bounds the listing of the whole fleet. It leaves those who waited for it time to answer.
	targetsTimeout = 7 * time.Second
	// targetsAtOnce is how many controllers are asked for at once.
	targetsAtOnce = 1000
)

// targetGroup is a controller in the form of Prometheus's HTTP service discovery.
type targetGroup struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// discovery serves /sd/controllers. When the fleet cannot be listed as a whole it answers 503, upon which Prometheus
// keeps the targets that it has: a part of the fleet, or none, would say that the others are gone.
type discovery struct {
	controllers func(ctx context.Context, filter service.ControllerFilter) ([]service.Controller, error)
	// admit tells who may not ask; nil when everybody may.
	admit  func(ctx context.Context) error
	logger log.Logger

	mu    sync.Mutex // Held while the store is asked, so that those who ask at the same time share an answer.
	until time.Time  // when the answer is too old
	body  []byte
	err   error
}

func newDiscovery(e endpoints.Endpoints, cfg Config) *discovery {
	d := &discovery{controllers: cfg.Controllers, logger: cfg.Logger}
	if cfg.SDNeedsToken {
		// Who may list the fleet may have it in this form as well, and is charged for it.
		d.admit = func(ctx context.Context) error {
			_, err := e.ListControllers.Call(ctx, service.ListQuery{PageSize: 1}, nil)
			return err
		}
	}
	return d
}

// ServeHTTP implements [http.Handler].
func (d *discovery) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if d.admit != nil {
		if err := d.admit(r.Context()); err != nil {
			writeError(w, err)
			return
		}
	}
	body, err := d.list()
	if err != nil {
		// Whatever went wrong, the fleet is not known just now.
		writeError(w, service.ErrUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	// A caller that has gone away needs no answer.
	_, _ = w.Write(body)
}

// list returns the whole fleet as JSON, or as it was a moment ago.
func (d *discovery) list() ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Now().Before(d.until) {
		return d.body, d.err
	}
	began := time.Now()
	// It is asked for everybody who waits, so it has nobody's context.
	ctx, cancel := context.WithTimeout(context.Background(), targetsTimeout)
	defer cancel()
	age := targetsAge
	if d.body, d.err = d.render(ctx); d.err != nil {
		_ = level.Error(d.logger).Log("msg", "targets not listed", "err", d.err)
	} else {
		age = min(max(targetsAge, targetsShare*time.Since(began)), mostTargetsAge)
	}
	d.until = time.Now().Add(age)
	return d.body, d.err
}

func (d *discovery) render(ctx context.Context) ([]byte, error) {
	groups := []targetGroup{}
	for filter := (service.ControllerFilter{Limit: targetsAtOnce}); ; {
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

// targetOf describes a controller. A label that is empty is to Prometheus as one that is not there.
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
			// Relabelling can put the port to it that metrics are served on.
			"__meta_gc_host": bracketed(host),
		},
	}
}

// hostAndPort takes an endpoint apart. Validation let only URLs of http and https in.
func hostAndPort(endpoint string) (host, port, scheme string) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return endpoint, "80", "http"
	}
	usual := map[string]string{"http": "80", "https": "443"}[u.Scheme]
	return u.Hostname(), cmp.Or(u.Port(), usual, "80"), u.Scheme
}

// bracketed is a host as it stands before a port.
func bracketed(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}
