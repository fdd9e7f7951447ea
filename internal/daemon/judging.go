package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	stdlog "log"
	"net"
	"strings"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"google.golang.org/grpc/credentials"

	"darktower.example/global-controller/pkg/auth"
	"darktower.example/global-controller/pkg/clock"
	"darktower.example/global-controller/pkg/health"
	"darktower.example/global-controller/pkg/metrics"
	"darktower.example/global-controller/pkg/refusals"
	"darktower.example/global-controller/pkg/store"
	"darktower.example/global-controller/pkg/sumlog"
	"darktower.example/global-controller/service"
)

const (
	// callMargin is how much later than its interval a heartbeat may arrive.
	callMargin = 5 * time.Second
	// logPeriod is how often refusals that are only counted are written to the log.
	logPeriod = time.Minute
	// eventPeriod and eventLines limit the log lines about controllers that register, recover and are drained.
	eventPeriod = time.Second
	eventLines  = 5
	// droppedKeyWindow is how long a controller counts that was refused because its key is no longer published.
	droppedKeyWindow = 5 * time.Minute
)

// authState holds what authentication needs, and the records of refused callers.
type authState struct {
	logger   log.Logger
	keys     *auth.KeySet
	clock    *clock.Guard
	verifier *auth.Verifier
	refusals *refusals.Memory
	// calls bounds what is logged about calls, events what is logged about controllers.
	calls, events *sumlog.Log
	metrics       *metrics.AuthMetrics
}

func newAuthState(cfg Config, logger log.Logger, m *metrics.Metrics) (*authState, error) {
	wall, memory := time.Now, cfg.FastInterval+callMargin
	if cfg.wallClock != nil {
		wall = cfg.wallClock
	}
	j := &authState{
		logger: logger,
		keys:   auth.NewKeySet(cfg.JWKSURL, logger, m.ObserveKeyRefresh),
		clock:  clock.New(wall, memory, logger),
		calls:  sumlog.New(logPeriod),
		events: sumlog.New(eventPeriod),
	}

	var err error
	if j.refusals, err = refusals.New(); err != nil {
		return nil, err
	}
	if j.verifier, err = auth.NewVerifier(j.keys, cfg.Audience, cfg.ClockSkew, j.clock.Now); err != nil {
		return nil, err
	}
	j.verifier.OnResult(m.ObserveTokenValidation)
	j.verifier.SuspectClock(j.clock.Suspect)
	j.keys.RememberUnjudged(memory)
	j.keys.OnDate(func(date time.Time, uncertainty time.Duration) { j.clock.Read(clock.AuthController, date, uncertainty) })
	j.clock.OnContradiction(j.keys.StartFetch)
	j.metrics = m.RegisterAuth(j.clock.Offsets, func() int { return j.refusals.Controllers(service.RefusedKeyDropped, droppedKeyWindow) })
	return j, nil
}

func (j *authState) keysState() string {
	switch {
	case !j.keys.Ready():
		return "none"
	case !j.keys.CanJudge():
		return "cannot be fetched, and callers use an unknown key"
	}
	return health.StateOK
}

func (j *authState) clockState() string {
	if problem := j.clock.Problem(); problem != "" {
		return problem
	}
	return health.StateOK
}

// refused records that a controller was refused.
func (j *authState) refused(controllerID, reason string) { j.refusals.Add(controllerID, reason) }

// run writes what was counted until ctx ends.
func (j *authState) run(ctx context.Context) error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = j.events.Run(ctx, nil)
	}()
	defer func() { <-ended }()
	return j.calls.Run(ctx, j.reportDroppedKey)
}

// reportDroppedKey writes how many controllers use tokens whose key is no longer published.
func (j *authState) reportDroppedKey() {
	if callers := j.refusals.Controllers(service.RefusedKeyDropped, logPeriod); callers > 0 {
		_ = level.Warn(j.logger).Log(
			"msg", "controllers are refused: the key of their tokens is no longer published; they renew tokens on a schedule only",
			"controllers", callers, "within", logPeriod,
		)
	}
}

// unknown counts a call to what is not served; what names it.
func (j *authState) unknown(transport, address, what string) {
	j.metrics.IncUnknownCall(transport)
	j.logPeer("unknown", "call to what is not served", "more calls to what is not served", transport, address, "what", truncate(what))
}

// handshakeFailed counts a connection whose TLS handshake failed.
func (j *authState) handshakeFailed(transport, address, cause string) {
	j.metrics.IncHandshakeFailure(transport)
	j.logPeer("handshake", "TLS handshake failed", "more TLS handshakes failed", transport, address, "err", truncate(cause))
}

// logPeer logs the first event of a group that a peer causes in a period; the others are counted.
func (j *authState) logPeer(group, first, more, transport, address string, detail ...any) {
	logger := level.Info(j.logger)
	line := func(msg string) []any {
		return append([]any{"msg", msg, "transport", transport, "peer", address}, detail...)
	}
	if j.calls.Admit(logger, group, transport+" "+address, 1, line(more)...) {
		_ = logger.Log(line(first)...)
	}
}

// truncate limits a text of a caller to the size of a log line.
func truncate(text string) string {
	const most = 128
	if len(text) > most {
		text = text[:most] + "…"
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// ObserveTransition writes what happened to a controller to the log.
func (j *authState) ObserveTransition(t service.Transition) {
	var msg string
	switch {
	case t.Cause == service.CauseRegister:
		msg = "controller registered"
	case t.Cause == service.CauseHeartbeat && t.From == service.HealthUnhealthy:
		msg = "controller recovered"
	case t.To == "":
		msg = "controller left the fleet"
	case t.Cause == service.CauseOperator && t.To == service.HealthDraining:
		msg = "controller is drained"
	case t.Cause == service.CauseOperator:
		msg = "controller is drained no more"
	default:
		return // The checker writes about those that are stale.
	}

	logger := level.Info(j.logger)
	if !j.events.Admit(logger, "controllers", msg, eventLines, "msg", msg, "more", true) {
		return
	}
	_ = logger.Log(
		"msg", msg, "controller_id", t.ControllerID, "region", t.Region, "from", t.From, "to", t.To,
		"actor", t.Actor, "reason", t.Reason, "silence", t.Silence,
	)
}

// clockedStore reads the store's clock with each beat.
type clockedStore struct {
	*store.Store
	read func(at time.Time, uncertainty time.Duration)
}

// newClockedStore returns the store, whose clock is read if it is another machine's. SQLite uses this host's clock.
func (s *Server) newClockedStore() clockedStore {
	read := func(at time.Time, uncertainty time.Duration) { s.judging.clock.Read(clock.Store, at, uncertainty) }
	if !strings.HasPrefix(s.cfg.DatabaseURL, "postgres") {
		read = func(time.Time, time.Duration) {}
	}
	return clockedStore{s.store, read}
}

// Beat implements [service.ReplicaStore].
func (s clockedStore) Beat(ctx context.Context, b service.Beat) (service.BeatResult, error) {
	began := time.Now()
	result, err := s.Store.Beat(ctx, b)
	if half := time.Since(began) / 2; err == nil && !result.At.IsZero() {
		s.read(result.At.Add(half), half)
	}
	return result, err
}

// countedCredentials reports the handshakes that fail.
type countedCredentials struct {
	credentials.TransportCredentials
	failed func(address, cause string)
}

// ServerHandshake implements [credentials.TransportCredentials].
func (c countedCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, info, err := c.TransportCredentials.ServerHandshake(conn)
	if err != nil && !errors.Is(err, io.EOF) { // A probe of the port sends nothing.
		c.failed(hostOf(conn.RemoteAddr().String()), err.Error())
	}
	return secured, info, err
}

// Clone implements [credentials.TransportCredentials].
func (c countedCredentials) Clone() credentials.TransportCredentials {
	return countedCredentials{c.TransportCredentials.Clone(), c.failed}
}

// tlsCredentials returns credentials for gRPC whose failed handshakes are counted.
func (j *authState) tlsCredentials(config *tls.Config) credentials.TransportCredentials {
	return countedCredentials{credentials.NewTLS(config), func(address, cause string) { j.handshakeFailed("grpc", address, cause) }}
}

func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}

// handshakePrefix starts the line that net/http logs for a failed handshake. net/http reports one in no other way.
const handshakePrefix = "http: TLS handshake error from "

// httpErrors receives the error log of net/http. Any client can cause its lines, so their number is limited.
type httpErrors struct{ judging *authState }

// Write implements [io.Writer].
func (w httpErrors) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	if rest, ok := strings.CutPrefix(text, handshakePrefix); ok {
		address, cause, _ := strings.Cut(rest, ": ")
		if cause != "EOF" {
			w.judging.handshakeFailed("http", hostOf(address), cause)
		}
		return len(line), nil
	}

	logger := level.Warn(w.judging.logger)
	if w.judging.calls.Admit(logger, "http server", "", eventLines, "msg", "http server: more errors") {
		_ = logger.Log("msg", "http server", "err", truncate(text))
	}
	return len(line), nil
}

func (j *authState) httpErrorLog() *stdlog.Logger { return stdlog.New(httpErrors{j}, "", 0) }
