package daemon

import (
	"darktower.example/global-controller/pkg/health"
	"darktower.example/global-controller/pkg/metrics"
	"darktower.example/global-controller/service"
)

// observer passes the service's events to the health checker, the metrics and the log.
type observer struct {
	heartbeats *health.HeartbeatMonitor
	metrics    *metrics.Metrics
	events     *eventLog
}

// ObserveTransition implements [service.Observer].
func (o observer) ObserveTransition(t service.Transition) {
	o.metrics.ObserveTransition(t)
	o.events.logTransition(t)
}

// ObserveCommit implements [service.Observer].
func (o observer) ObserveCommit(controllerID string) { o.heartbeats.ObserveCommit(controllerID) }

// ObserveFailure implements [service.Observer].
func (o observer) ObserveFailure(controllerID string) { o.heartbeats.ObserveFailure(controllerID) }

// ObserveSuperseded implements [service.Observer].
func (o observer) ObserveSuperseded() { o.metrics.ObserveSuperseded() }
