package daemon

import (
	"net/http"
	"time"

	"github.com/go-kit/log"

	"darktower.example/global-controller/pkg/auth"
	"darktower.example/global-controller/pkg/clock"
	"darktower.example/global-controller/pkg/health"
	"darktower.example/global-controller/pkg/loglimit"
	"darktower.example/global-controller/pkg/metrics"
	"darktower.example/global-controller/pkg/refusals"
	"darktower.example/global-controller/service"
)

const (
	// callMargin is how much later than its interval a heartbeat may arrive.
	callMargin = 5 * time.Second
	// droppedKeyWindow is how long a controller counts that was refused because its key is no longer published.
	droppedKeyWindow = 5 * time.Minute
)

// authState holds what authentication needs, and the records of refused callers.
type authState struct {
	logger   log.Logger
	keys     *auth.KeySet
	clock    *clock.Guard
	verifier *auth.Verifier
	refusals *refusals.Log
	metrics  *metrics.AuthMetrics
	// calls limits the log lines about calls, and events those about controllers.
	calls, events *loglimit.Limiter
}

// newAuthState makes the parts. transport fetches the keys; nil is the default of net/http.
func newAuthState(cfg Config, logger log.Logger, m *metrics.Metrics, transport http.RoundTripper) (*authState, error) {
	wall := time.Now
	if cfg.Testing.WallClock != nil {
		wall = cfg.Testing.WallClock
	}
	memory := cfg.FastInterval + callMargin
	a := &authState{
		logger: logger,
		clock:  clock.New(wall, memory, logger),
		calls:  loglimit.New(callLogPeriod),
		events: loglimit.New(eventLogPeriod),
	}
	a.keys = auth.NewKeySet(auth.KeySetConfig{
		URL:       cfg.JWKSURL,
		Logger:    logger,
		Transport: transport,
		OnRefresh: m.ObserveKeyRefresh,
		OnDate: func(date time.Time, uncertainty time.Duration) {
			a.clock.AddReading(clock.AuthController, date, uncertainty)
		},
		UnverifiableMemory: memory,
	})

	var err error
	if a.refusals, err = refusals.New(); err != nil {
		return nil, err
	}
	a.verifier, err = auth.NewVerifier(auth.VerifierConfig{
		Keys:       a.keys,
		Audience:   cfg.Audience,
		ClockSkew:  cfg.ClockSkew,
		Now:        a.clock.Now,
		CheckClock: a.clock.CheckToken,
		OnResult:   m.ObserveTokenValidation,
	})
	if err != nil {
		return nil, err
	}

	a.clock.OnContradiction(a.keys.StartFetch)
	a.metrics = m.RegisterAuth(a.clock.Offsets, func() int { return a.refusals.CountControllers(service.RefusedKeyDropped, droppedKeyWindow) })
	return a, nil
}

// keysState is [health.StateOK] while every token that callers use can be verified or rejected.
func (a *authState) keysState() string {
	switch {
	case !a.keys.HasKeys():
		return "none"
	case !a.keys.CanVerify():
		return "cannot be fetched, and callers use an unknown key"
	}
	return health.StateOK
}

// clockState is [health.StateOK] while no reference clock shows that this host's clock is wrong.
func (a *authState) clockState() string {
	if problem := a.clock.Problem(); problem != "" {
		return problem
	}
	return health.StateOK
}

// recordRefusal records that a call in the name of a controller was refused.
func (a *authState) recordRefusal(controllerID, reason string) { a.refusals.Add(controllerID, reason) }
