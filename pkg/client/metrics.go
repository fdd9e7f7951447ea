package client

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
)

// Metrics counts what the clients of a process do. No label has the id of a controller or an address.
type Metrics struct {
	calls         *prometheus.CounterVec
	seconds       *prometheus.HistogramVec
	registrations prometheus.Counter
	failovers     prometheus.Counter
	streams       prometheus.Counter
	tokens        *prometheus.CounterVec
	clients       *prometheus.GaugeVec
}

// state is where a client stands.
type state string

const (
	stateGone        state = ""
	stateRegistering state = "registering"
	stateRegistered  state = "registered"
	stateLost        state = "lost"
)

// NewMetrics returns metrics that are registered, and panics when the registry has them already.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mc_client_calls_total", Help: "Attempts to call a Global Controller.",
		}, []string{"method", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "mc_client_call_duration_seconds", Help: "How long attempts took.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"method"}),
		registrations: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mc_client_registrations_total", Help: "Registrations that were accepted.",
		}),
		failovers: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mc_client_failovers_total", Help: "Replaced connections, and switches to the next address.",
		}),
		streams: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mc_client_streams_opened_total", Help: "Heartbeat streams that were opened.",
		}),
		tokens: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mc_client_token_fetches_total", Help: "Tokens asked of the auth controller, by result (ok or error).",
		}, []string{"result"}),
		clients: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mc_client_clients", Help: "Clients that run, by state: registering, registered (the last heartbeat was acknowledged) or lost.",
		}, []string{"state"}),
	}
	for _, s := range []state{stateRegistering, stateRegistered, stateLost} {
		m.clients.WithLabelValues(string(s))
	}
	for _, result := range []string{"ok", "error"} {
		m.tokens.WithLabelValues(result)
	}
	registry.MustRegister(m.calls, m.seconds, m.registrations, m.failovers, m.streams, m.tokens, m.clients)
	return m
}

func (m *Metrics) called(method string, code codes.Code, took time.Duration) {
	if m == nil {
		return
	}
	m.calls.WithLabelValues(method, code.String()).Inc()
	m.seconds.WithLabelValues(method).Observe(took.Seconds())
}

func (m *Metrics) registered() {
	if m != nil {
		m.registrations.Inc()
	}
}

func (m *Metrics) failedOver() {
	if m != nil {
		m.failovers.Inc()
	}
}

func (m *Metrics) streamOpened() {
	if m != nil {
		m.streams.Inc()
	}
}

func (m *Metrics) tokenFetched(err error) {
	switch {
	case m == nil:
	case err == nil:
		m.tokens.WithLabelValues("ok").Inc()
	default:
		m.tokens.WithLabelValues("error").Inc()
	}
}

func (m *Metrics) moved(from, to state) {
	if m == nil {
		return
	}
	if from != stateGone {
		m.clients.WithLabelValues(string(from)).Dec()
	}
	if to != stateGone {
		m.clients.WithLabelValues(string(to)).Inc()
	}
}
