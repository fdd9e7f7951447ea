package client

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
)

// Metrics has the metrics of all clients of a process. No label has a controller id or an address.
type Metrics struct {
	calls         *prometheus.CounterVec
	seconds       *prometheus.HistogramVec
	registrations prometheus.Counter
	failovers     prometheus.Counter
	streams       prometheus.Counter
	tokens        *prometheus.CounterVec
	clients       *prometheus.GaugeVec
}

// clientState is the state of a running client, as the metrics show it.
type clientState string

const (
	stateNotRunning  clientState = ""
	stateRegistering clientState = "registering"
	stateRegistered  clientState = "registered"
	stateLost        clientState = "lost"
)

// NewMetrics registers the metrics and returns them. It panics if the registry has them already.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mc_client_calls_total", Help: "Attempts to call a Global Controller.",
		}, []string{"method", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "mc_client_call_duration_seconds", Help: "Duration of attempts to call a Global Controller.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"method"}),
		registrations: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mc_client_registrations_total", Help: "Accepted registrations.",
		}),
		failovers: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mc_client_failovers_total", Help: "Replaced connections, and switches to the next address.",
		}),
		streams: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mc_client_streams_opened_total", Help: "Opened heartbeat streams.",
		}),
		tokens: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mc_client_token_fetches_total", Help: "Requests for a token to the auth controller, by result (ok or error).",
		}, []string{"result"}),
		clients: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mc_client_clients",
			Help: "Running clients, by state: registering, registered (the last heartbeat was acknowledged) or lost.",
		}, []string{"state"}),
	}

	// Series that exist from the start make rates right from the first event on.
	for _, s := range []clientState{stateRegistering, stateRegistered, stateLost} {
		m.clients.WithLabelValues(string(s))
	}
	for _, result := range []string{"ok", "error"} {
		m.tokens.WithLabelValues(result)
	}

	registry.MustRegister(m.calls, m.seconds, m.registrations, m.failovers, m.streams, m.tokens, m.clients)
	return m
}

func (m *Metrics) observeCall(method string, code codes.Code, took time.Duration) {
	if m == nil {
		return
	}
	m.calls.WithLabelValues(method, code.String()).Inc()
	m.seconds.WithLabelValues(method).Observe(took.Seconds())
}

func (m *Metrics) countRegistration() {
	if m != nil {
		m.registrations.Inc()
	}
}

func (m *Metrics) countFailover() {
	if m != nil {
		m.failovers.Inc()
	}
}

func (m *Metrics) countStream() {
	if m != nil {
		m.streams.Inc()
	}
}

func (m *Metrics) countTokenFetch(err error) {
	if m == nil {
		return
	}
	result := "ok"
	if err != nil {
		result = "error"
	}
	m.tokens.WithLabelValues(result).Inc()
}

// moveClient counts a client that goes from one state to another.
func (m *Metrics) moveClient(from, to clientState) {
	if m == nil {
		return
	}
	if from != stateNotRunning {
		m.clients.WithLabelValues(string(from)).Dec()
	}
	if to != stateNotRunning {
		m.clients.WithLabelValues(string(to)).Inc()
	}
}
