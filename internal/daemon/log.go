package daemon

import (
	"context"
	"io"
	stdlog "log"
	"strings"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"darktower.example/global-controller/service"
)

const (
	// callLogPeriod is the time between two summaries of calls that are counted instead of logged.
	callLogPeriod = time.Minute
	// maxEvents is how many lines about controllers that register, recover or drain are logged in each eventLogPeriod; the
	// others are counted.
	eventLogPeriod = time.Second
	maxEvents      = 5
	// maxLoggedText is how many bytes of a caller's text are logged.
	maxLoggedText = 128
)

// NewLogger returns a structured logger that writes to w.
func NewLogger(w io.Writer, cfg Config) log.Logger {
	logger := log.NewLogfmtLogger(log.NewSyncWriter(w))
	if cfg.LogFormat == "json" {
		logger = log.NewJSONLogger(log.NewSyncWriter(w))
	}

	// The configuration allows only the four levels.
	least := level.ParseDefault(cfg.LogLevel, level.InfoValue())
	return log.With(level.NewFilter(logger, level.Allow(least)), "ts", log.DefaultTimestampUTC)
}

// writeLogSummaries writes the counts of what was not logged until ctx ends.
func (a *authState) writeLogSummaries(ctx context.Context) error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = a.events.Run(ctx, nil)
	}()
	defer func() { <-ended }()

	return a.calls.Run(ctx, a.logDroppedKeys)
}

// logDroppedKeys logs how many controllers use tokens whose key is no longer published.
func (a *authState) logDroppedKeys() {
	if callers := a.refusals.CountControllers(service.RefusedKeyDropped, callLogPeriod); callers > 0 {
		_ = level.Warn(a.logger).Log(
			"msg", "controllers are refused: the key of their tokens is no longer published; they renew tokens on a schedule only",
			"controllers", callers, "within", callLogPeriod,
		)
	}
}

// recordUnknownCall counts and logs a call to a service, method or path that is not served; what names it.
func (a *authState) recordUnknownCall(transport, address, what string) {
	a.metrics.IncUnknownCall(transport)
	a.logPeer("unknown", "call to what is not served", "more calls to what is not served", transport, address, "what", truncate(what))
}

// recordHandshakeFailure counts and logs a connection whose TLS handshake failed.
func (a *authState) recordHandshakeFailure(transport, address, cause string) {
	a.metrics.IncHandshakeFailure(transport)
	a.logPeer("handshake", "TLS handshake failed", "more TLS handshakes failed", transport, address, "err", truncate(cause))
}

// logPeer logs the first event of a group that a peer causes in a period; the others are counted.
func (a *authState) logPeer(group, first, more, transport, address string, detail ...any) {
	logger := level.Info(a.logger)
	line := func(msg string) []any {
		return append([]any{"msg", msg, "transport", transport, "peer", address}, detail...)
	}

	if a.calls.ShouldLog(logger, group, transport+" "+address, 1, line(more)...) {
		_ = logger.Log(line(first)...)
	}
}

// truncate limits a caller's text to the size of a log line.
func truncate(text string) string {
	if len(text) > maxLoggedText {
		text = text[:maxLoggedText] + "…"
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// ObserveTransition logs a transition of a controller. The health checker logs those to stale.
func (a *authState) ObserveTransition(t service.Transition) {
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

	logger := level.Info(a.logger)
	if !a.events.ShouldLog(logger, "controllers", msg, maxEvents, "msg", msg, "more", true) {
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
type httpErrorLog struct{ auth *authState }

func (a *authState) newHTTPErrorLog() *stdlog.Logger { return stdlog.New(httpErrorLog{a}, "", 0) }

// Write implements [io.Writer].
func (w httpErrorLog) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	if rest, ok := strings.CutPrefix(text, handshakeErrorPrefix); ok {
		address, cause, _ := strings.Cut(rest, ": ")
		if cause != "EOF" {
			w.auth.recordHandshakeFailure("http", hostOf(address), cause)
		}
		return len(line), nil
	}

	logger := level.Warn(w.auth.logger)
	if w.auth.calls.ShouldLog(logger, "http server", "", maxEvents, "msg", "http server: more errors") {
		_ = logger.Log("msg", "http server", "err", truncate(text))
	}
	return len(line), nil
}
