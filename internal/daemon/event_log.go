package daemon

import (
	"context"
	stdlog "log"
	"strings"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"darktower.example/global-controller/pkg/loglimit"
	"darktower.example/global-controller/pkg/metrics"
	"darktower.example/global-controller/pkg/refusals"
	"darktower.example/global-controller/service"
)

const (
	// callLogPeriod is the time between two summaries of calls and connections that are counted instead of logged.
	callLogPeriod = time.Minute
	// controllerLogPeriod is the time between two summaries of transitions that are counted instead of logged.
	controllerLogPeriod = time.Second
	// maxLines is how many events of a kind are logged in a period, where several are useful; the others are counted.
	maxLines = 5
	// droppedKeyWindow is how long a controller counts that was refused because its key is no longer published.
	droppedKeyWindow = 5 * time.Minute
)

// eventLog logs and counts what callers do. Any number of events may come at once, so it limits the number of lines.
type eventLog struct {
	logger   log.Logger
	refusals *refusals.Log
	metrics  *metrics.RefusalMetrics
	// calls limits the lines about calls and connections.
	calls *loglimit.Limiter
	// controllers limits the lines about transitions.
	controllers *loglimit.Limiter
}

// newEventLog returns an event log and adds its metrics.
func newEventLog(logger log.Logger, m *metrics.Metrics) (*eventLog, error) {
	refusalLog, err := refusals.New()
	if err != nil {
		return nil, err
	}

	return &eventLog{
		logger:      logger,
		refusals:    refusalLog,
		metrics:     m.RegisterRefusals(func() int { return refusalLog.CountControllers(service.RefusedKeyDropped, droppedKeyWindow) }),
		calls:       loglimit.New(callLogPeriod),
		controllers: loglimit.New(controllerLogPeriod),
	}, nil
}

// writeSummaries writes the counts of events that were not logged, until ctx ends.
func (l *eventLog) writeSummaries(ctx context.Context) error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = l.controllers.Run(ctx, nil)
	}()
	defer func() { <-ended }()

	return l.calls.Run(ctx, l.logDroppedKeys)
}

// recordRefusal records that a call in the name of a controller was refused.
func (l *eventLog) recordRefusal(controllerID, reason string) { l.refusals.Add(controllerID, reason) }

// logDroppedKeys logs how many controllers use tokens whose key is no longer published.
func (l *eventLog) logDroppedKeys() {
	if callers := l.refusals.CountControllers(service.RefusedKeyDropped, callLogPeriod); callers > 0 {
		_ = level.Warn(l.logger).Log(
			"msg", "controllers are refused: the key of their tokens is no longer published; they renew tokens on a schedule only",
			"controllers", callers, "within", callLogPeriod,
		)
	}
}

// recordUnknownCall counts and logs a call to a service, method or path that is not served; what names it.
func (l *eventLog) recordUnknownCall(transport, address, what string) {
	l.metrics.IncUnknownCall(transport)
	l.logPeer("unknown", "unknown call", "more unknown calls", transport, address, "what", truncate(what))
}

// recordHandshakeFailure counts and logs a connection whose TLS handshake failed.
func (l *eventLog) recordHandshakeFailure(transport, address, cause string) {
	l.metrics.IncHandshakeFailure(transport)
	l.logPeer("handshake", "TLS handshake failed", "more TLS handshakes failed", transport, address, "err", truncate(cause))
}

// logPeer logs the first event of a group that a peer causes in a period; the others are counted.
func (l *eventLog) logPeer(group, first, more, transport, address string, detail ...any) {
	logger := level.Info(l.logger)
	line := func(msg string) []any {
		return append([]any{"msg", msg, "transport", transport, "peer", address}, detail...)
	}

	if l.calls.ShouldLog(logger, group, transport+" "+address, 1, line(more)...) {
		_ = logger.Log(line(first)...)
	}
}

// logTransition logs a transition of a controller. The health checker logs those to stale.
func (l *eventLog) logTransition(t service.Transition) {
	var msg string
	switch {
	case t.Cause == service.CauseRegister:
		msg = "controller registered"
	case t.Cause == service.CauseHeartbeat && t.From == service.HealthUnhealthy:
		msg = "controller recovered"
	case t.To == "":
		msg = "controller left the fleet"
	case t.Cause == service.CauseOperator && t.To == service.HealthDraining:
		msg = "drain started"
	case t.Cause == service.CauseOperator:
		msg = "drain ended"
	default:
		return
	}

	logger := level.Info(l.logger)
	if !l.controllers.ShouldLog(logger, "controllers", msg, maxLines, "msg", msg, "more", true) {
		return
	}
	_ = logger.Log(
		"msg", msg, "controller_id", t.ControllerID, "region", t.Region, "from", t.From, "to", t.To,
		"actor", t.Actor, "reason", t.Reason, "silence", t.Silence,
	)
}

// handshakeErrorPrefix starts the line that net/http logs for a failed handshake. net/http reports one in no other way.
const handshakeErrorPrefix = "http: TLS handshake error from "

// httpErrorLog receives the error log of net/http. Any client can cause its lines, so their number is limited.
type httpErrorLog struct{ events *eventLog }

func (l *eventLog) newHTTPErrorLog() *stdlog.Logger { return stdlog.New(httpErrorLog{l}, "", 0) }

// Write implements [io.Writer].
func (w httpErrorLog) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	if rest, ok := strings.CutPrefix(text, handshakeErrorPrefix); ok {
		address, cause, _ := strings.Cut(rest, ": ")
		if cause != "EOF" {
			w.events.recordHandshakeFailure("http", hostOf(address), cause)
		}
		return len(line), nil
	}

	logger := level.Warn(w.events.logger)
	if w.events.calls.ShouldLog(logger, "http server", "", maxLines, "msg", "more HTTP server errors") {
		_ = logger.Log("msg", "HTTP server error", "err", truncate(text))
	}
	return len(line), nil
}
