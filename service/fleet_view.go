package service

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"darktower.example/global-controller/service/placement"
)

const (
	// viewLifetime is how old a region's view may be. Meetings that this replica assigns are part of it at once.
	viewLifetime = time.Second
	// viewPageSize is how many controllers are read at once.
	viewPageSize = 1000
	// firstCoolDown and maxCoolDown limit how long a controller gets no meeting after it refused one. Each refusal doubles the time.
	firstCoolDown = 30 * time.Second
	maxCoolDown   = 10 * time.Minute
)

// FleetViewConfig is what a [FleetView] works with.
type FleetViewConfig struct {
	Controllers interface {
		Controllers(ctx context.Context, filter ControllerFilter) ([]Controller, error)
	}
	Assignments AssignmentStore
	// CheckEndpoint returns why a controller's grpc_endpoint must not be called; nil allows all.
	CheckEndpoint func(grpcEndpoint string) error
	// Now is for tests; nil means time.Now.
	Now func() time.Time
}

// FleetView implements [Fleet]: it keeps the controllers of each region in memory, with what is assigned to them.
type FleetView struct {
	cfg FleetViewConfig

	mu        sync.Mutex
	regions   map[string]*regionView
	coolDowns map[string]*coolDown
}

// regionView is a region as it was read.
type regionView struct {
	readAt      time.Time
	refreshing  chan struct{} // Not nil while it is read.
	err         error         // of the last read
	candidates  []placement.Candidate
	controllers []Controller // in the order of candidates
}

// coolDown is a controller that refused a meeting.
type coolDown struct {
	until    time.Time
	duration time.Duration
	reason   string
	// incarnation is that of the refusal: a registration of another process ends the cool-down.
	incarnation string
}

// NewFleetView returns an empty view.
func NewFleetView(cfg FleetViewConfig) *FleetView {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &FleetView{cfg: cfg, regions: make(map[string]*regionView), coolDowns: make(map[string]*coolDown)}
}

// globalRand uses the source of math/rand/v2, which is safe for concurrent use.
type globalRand struct{}

func (globalRand) IntN(n int) int { return rand.IntN(n) } //nolint:gosec // Spreads load; no secret.

// Choose implements [Fleet].
func (v *FleetView) Choose(ctx context.Context, r placement.Request, isCounted bool) (placement.Decision, Controller, error) {
	regions := append([]string{r.Region}, r.SpillRegions...)
	if err := v.refresh(ctx, regions); err != nil {
		return placement.Decision{}, Controller{}, err
	}

	v.mu.Lock()
	defer v.mu.Unlock()

	fleet := make(placement.Fleet, len(regions))
	for _, region := range regions {
		fleet[region] = v.regions[region].candidates
	}
	decision := placement.Choose(r, fleet, globalRand{})
	view := v.regions[decision.Region]
	for i := range view.candidates {
		c := &view.candidates[i]
		if c.ID != decision.ControllerID {
			continue
		}
		if isCounted {
			meeting := placement.Size{Meetings: 1, Participants: r.ExpectedParticipants}
			c.Assigned, c.SinceReport = c.Assigned.Plus(meeting), c.SinceReport.Plus(meeting)
		}
		return decision, view.controllers[i], nil
	}
	return decision, Controller{}, nil
}

// Controller implements [Fleet].
func (v *FleetView) Controller(ctx context.Context, regions []string, controllerID string) (Controller, bool, error) {
	if err := v.refresh(ctx, regions); err != nil {
		return Controller{}, false, err
	}

	v.mu.Lock()
	defer v.mu.Unlock()
	for _, region := range regions {
		for _, c := range v.regions[region].controllers {
			if c.ControllerID == controllerID {
				return c, true, nil
			}
		}
	}
	return Controller{}, false, nil
}

// CoolDown implements [Fleet]. The time doubles with each refusal within it.
func (v *FleetView) CoolDown(controllerID, reason string) {
	v.mu.Lock()
	defer v.mu.Unlock()

	c := v.coolDowns[controllerID]
	if c == nil {
		c = &coolDown{duration: firstCoolDown / 2}
		v.coolDowns[controllerID] = c
	}
	c.duration = min(2*c.duration, maxCoolDown)
	c.until = v.cfg.Now().Add(c.duration)
	c.reason = reason

	for _, view := range v.regions {
		for i := range view.candidates {
			if view.candidates[i].ID == controllerID {
				view.candidates[i].CoolDown = reason
				c.incarnation = view.controllers[i].Incarnation
			}
		}
	}
}

// refresh reads the regions whose view is too old. Concurrent callers share one read.
func (v *FleetView) refresh(ctx context.Context, regions []string) error {
	for _, region := range regions {
		if err := v.refreshRegion(ctx, region); err != nil {
			return err
		}
	}
	return nil
}

func (v *FleetView) refreshRegion(ctx context.Context, region string) error {
	v.mu.Lock()
	view := v.regions[region]
	if view == nil {
		view = &regionView{}
		v.regions[region] = view
	}
	if view.err == nil && !view.readAt.IsZero() && v.cfg.Now().Sub(view.readAt) < viewLifetime {
		v.mu.Unlock()
		return nil
	}

	wait := view.refreshing
	if wait == nil {
		wait = make(chan struct{})
		view.refreshing = wait
		go v.readRegion(context.WithoutCancel(ctx), region, view, wait)
	}
	v.mu.Unlock()

	select {
	case <-wait:
		v.mu.Lock()
		defer v.mu.Unlock()
		return view.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// readRegion reads a region and replaces its view.
func (v *FleetView) readRegion(ctx context.Context, region string, view *regionView, done chan struct{}) {
	began := v.cfg.Now()
	controllers, err := v.readControllers(ctx, region)
	var loads []AssignedLoad
	if err == nil {
		loads, err = v.cfg.Assignments.AssignedLoads(ctx, region)
	}

	v.mu.Lock()
	defer v.mu.Unlock()
	view.refreshing = nil
	view.err = err
	if err == nil {
		view.readAt = began
		view.controllers = controllers
		view.candidates = v.newCandidates(controllers, loads)
	}
	close(done)
}

func (v *FleetView) readControllers(ctx context.Context, region string) ([]Controller, error) {
	var all []Controller
	after := ""
	for {
		page, err := v.cfg.Controllers.Controllers(ctx, ControllerFilter{Region: region, AfterID: after, Limit: viewPageSize})
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if len(page) < viewPageSize {
			return all, nil
		}
		after = page[len(page)-1].ControllerID
	}
}

// newCandidates returns the candidates of controllers. The lock is held.
func (v *FleetView) newCandidates(controllers []Controller, loads []AssignedLoad) []placement.Candidate {
	byID := make(map[string]AssignedLoad, len(loads))
	for _, load := range loads {
		byID[load.ControllerID] = load
	}

	candidates := make([]placement.Candidate, len(controllers))
	for i, c := range controllers {
		load := byID[c.ControllerID]
		candidates[i] = placement.Candidate{
			ID:          c.ControllerID,
			Region:      c.Region,
			State:       placement.State(c.Health),
			Limit:       placement.Size{Meetings: c.MaxMeetings, Participants: c.MaxParticipants},
			Reported:    placement.Size{Meetings: c.CurrentMeetings, Participants: c.CurrentParticipants},
			SinceReport: placement.Size{Meetings: load.MeetingsSince, Participants: load.ParticipantsSince},
			Assigned:    placement.Size{Meetings: load.Meetings, Participants: load.Participants},
			CoolDown:    v.coolDownReason(c),
		}
		if v.cfg.CheckEndpoint != nil {
			if err := v.cfg.CheckEndpoint(c.GRPCEndpoint); err != nil {
				candidates[i].EndpointError = err.Error()
			}
		}
	}
	return candidates
}

// coolDownReason returns why a controller cools down, empty if it does not. A registration ends a cool-down. The lock is held.
func (v *FleetView) coolDownReason(c Controller) string {
	found := v.coolDowns[c.ControllerID]
	if found == nil {
		return ""
	}
	if c.Incarnation != found.incarnation || c.Health == HealthPending {
		delete(v.coolDowns, c.ControllerID)
		return ""
	}
	if !v.cfg.Now().Before(found.until) {
		return ""
	}
	return found.reason
}
