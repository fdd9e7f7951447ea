package daemon

import (
	"net/http"
	"time"

	"github.com/go-kit/log"

	"darktower.example/global-controller/pkg/auth"
	"darktower.example/global-controller/pkg/clock"
	"darktower.example/global-controller/pkg/health"
	"darktower.example/global-controller/pkg/metrics"
)

// The states of the readiness condition keys, besides [health.StateOK]. Both are public texts.
const (
	stateNoKeys      = "none"
	stateKeysUnknown = "cannot be fetched, and callers use an unknown key"
)

// callMargin is how much later than its interval a heartbeat may arrive.
const callMargin = 5 * time.Second

// authState holds what verifies tokens: the auth controller's keys, and a clock.
type authState struct {
	keys     *auth.KeySet
	clock    *clock.Guard
	verifier *auth.Verifier
}

// newAuthState returns the parts. transport fetches the keys; if nil, the default of net/http does.
func newAuthState(cfg Config, logger log.Logger, m *metrics.Metrics, transport http.RoundTripper) (*authState, error) {
	wall := time.Now
	if cfg.Testing.WallClock != nil {
		wall = cfg.Testing.WallClock
	}
	unverifiableFor := cfg.FastInterval + callMargin

	guard := clock.New(wall, unverifiableFor, logger)
	keys := auth.NewKeySet(auth.KeySetConfig{
		URL:       cfg.JWKSURL,
		Logger:    logger,
		Transport: transport,
		OnRefresh: m.ObserveKeyRefresh,
		OnDate: func(date time.Time, uncertainty time.Duration) {
			guard.AddReading(clock.AuthController, date, uncertainty)
		},
		UnverifiableFor: unverifiableFor,
	})
	guard.OnContradiction(keys.StartFetch)

	verifier, err := auth.NewVerifier(auth.VerifierConfig{
		Keys:       keys,
		Audience:   cfg.Audience,
		ClockSkew:  cfg.ClockSkew,
		Now:        guard.Now,
		CheckClock: guard.CheckToken,
		OnResult:   m.ObserveTokenValidation,
	})
	if err != nil {
		return nil, err
	}

	m.RegisterClock(guard.Offsets)
	m.RegisterKeyCount(keys.Count)
	return &authState{keys: keys, clock: guard, verifier: verifier}, nil
}

// keysState is [health.StateOK] while every token that callers use can be verified or rejected.
func (a *authState) keysState() string {
	switch {
	case !a.keys.HasKeys():
		return stateNoKeys
	case !a.keys.CanVerify():
		return stateKeysUnknown
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
