package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"darktower.example/global-controller/service/placement"
)

const (
	// maxPlacementAttempts limits the controllers that are tried for one request.
	maxPlacementAttempts = 3
	// reservationSlack is how long a reservation outlasts the request to the controller: the time of its confirmation.
	reservationSlack = 6 * time.Second
	// reservationPoll is how often a request checks whether the reservation of another request was confirmed.
	reservationPoll = 20 * time.Millisecond
)

// AssignRequest is a meeting that needs a controller.
type AssignRequest struct {
	AssignmentKey

	ExpectedParticipants int64
	OrgID                string
	SeriesID             string
	RequireLabels        map[string]string
	PreferLabels         map[string]string
	ExcludeControllers   []string
	SpillRegions         []string
	DryRun               bool
}

// AssignResponse is the controller of a meeting.
type AssignResponse struct {
	Assignment Assignment
	Controller Controller
	// IsReused is true if the assignment existed already.
	IsReused bool
}

// PlacerConfig is what a [Placer] works with.
type PlacerConfig struct {
	Store     AssignmentStore
	Fleet     Fleet
	ReplicaID string
	// Asker is nil if controllers are not asked: then an assignment is confirmed at once.
	Asker Asker
	// AskTimeout limits a request to a controller.
	AskTimeout time.Duration
}

// Placer assigns meetings to controllers. Its methods are safe for concurrent use.
type Placer struct {
	cfg PlacerConfig

	mu       sync.Mutex
	inFlight map[AssignmentKey]*assignCall
}

// assignCall is a request whose result concurrent requests for the same key share.
type assignCall struct {
	done     chan struct{}
	response AssignResponse
	err      error
}

// NewPlacer returns a placer.
func NewPlacer(cfg PlacerConfig) *Placer {
	return &Placer{cfg: cfg, inFlight: make(map[AssignmentKey]*assignCall)}
}

// Assign returns the controller of a meeting, and chooses one if there is none. Concurrent requests for the same key share one choice.
func (p *Placer) Assign(ctx context.Context, r AssignRequest) (AssignResponse, error) {
	if r.DryRun {
		return p.dryRun(ctx, r)
	}

	call, isLeader := p.join(r.AssignmentKey)
	if isLeader {
		// The choice outlives its first caller: others may wait for it, and a reservation must be confirmed or released.
		go func() {
			defer p.leave(r.AssignmentKey, call)
			call.response, call.err = p.assign(context.WithoutCancel(ctx), r)
		}()
	}

	select {
	case <-call.done:
		response := call.response
		response.IsReused = response.IsReused || !isLeader
		return response, call.err
	case <-ctx.Done():
		return AssignResponse{}, ctx.Err()
	}
}

func (p *Placer) join(key AssignmentKey) (call *assignCall, isLeader bool) {
	p.mu.Lock()
	defer p.mu.Unlock()

	if call, ok := p.inFlight[key]; ok {
		return call, false
	}
	call = &assignCall{done: make(chan struct{})}
	p.inFlight[key] = call
	return call, true
}

func (p *Placer) leave(key AssignmentKey, call *assignCall) {
	p.mu.Lock()
	defer p.mu.Unlock()

	delete(p.inFlight, key)
	close(call.done)
}

func (p *Placer) dryRun(ctx context.Context, r AssignRequest) (AssignResponse, error) {
	decision, chosen, err := p.choose(ctx, r, r.ExcludeControllers, false)
	if err != nil {
		return AssignResponse{}, err
	}
	return AssignResponse{
		Assignment: Assignment{AssignmentKey: r.AssignmentKey, ControllerID: chosen.ControllerID, Reason: decision.Reason()},
		Controller: chosen,
	}, nil
}

// assign reuses a live assignment, or tries up to three controllers.
func (p *Placer) assign(ctx context.Context, r AssignRequest) (AssignResponse, error) {
	if response, err := p.reuse(ctx, r); err == nil || !errors.Is(err, ErrNotAssigned) {
		return response, err
	}

	excluded := slices.Clone(r.ExcludeControllers)
	var lastErr error
	for range maxPlacementAttempts {
		decision, chosen, err := p.choose(ctx, r, excluded, true)
		if err != nil {
			return AssignResponse{}, errors.Join(err, lastErr)
		}

		response, err := p.try(ctx, r, chosen, decision)
		if err == nil {
			return response, nil
		}
		if !errors.Is(err, errNextCandidate) {
			return AssignResponse{}, err
		}
		excluded = append(excluded, chosen.ControllerID)
		lastErr = err
	}
	return AssignResponse{}, fmt.Errorf("%w: %w", ErrUnavailable, lastErr)
}

// errNextCandidate means that a controller did not get the meeting, and that another one may.
var errNextCandidate = errors.New("try another controller")

// choose returns a decision for a controller, or [NoCandidateError] if none is eligible.
func (p *Placer) choose(ctx context.Context, r AssignRequest, excluded []string, isCounted bool) (placement.Decision, Controller, error) {
	decision, chosen, err := p.cfg.Fleet.Choose(ctx, placement.Request{
		Region:               r.Region,
		SpillRegions:         r.SpillRegions,
		ExpectedParticipants: r.ExpectedParticipants,
		RequireLabels:        r.RequireLabels,
		PreferLabels:         r.PreferLabels,
		ExcludeControllers:   excluded,
	}, isCounted)
	if err != nil {
		return decision, Controller{}, fmt.Errorf("choose a controller: %w", err)
	}
	if decision.ControllerID == "" {
		return decision, Controller{}, &NoCandidateError{Reason: decision.Reason()}
	}
	return decision, chosen, nil
}

// regions returns the regions that a request may use.
func (r AssignRequest) regions() []string { return append([]string{r.Region}, r.SpillRegions...) }

// reuse returns the live assignment of a meeting if its controller may keep it. Otherwise the error is [ErrNotAssigned].
func (p *Placer) reuse(ctx context.Context, r AssignRequest) (AssignResponse, error) {
	found, err := p.cfg.Store.Assignment(ctx, r.AssignmentKey)
	if err != nil {
		return AssignResponse{}, err
	}
	return p.shareAssignment(ctx, r, found)
}

// shareAssignment returns an assignment of another request. It waits until a reservation is confirmed or ends.
func (p *Placer) shareAssignment(ctx context.Context, r AssignRequest, found Assignment) (AssignResponse, error) {
	for !found.IsConfirmed {
		select {
		case <-ctx.Done():
			return AssignResponse{}, ctx.Err()
		case <-time.After(reservationPoll):
		}

		var err error
		if found, err = p.cfg.Store.Assignment(ctx, r.AssignmentKey); err != nil {
			return AssignResponse{}, err
		}
	}

	holder, isKnown, err := p.cfg.Fleet.Controller(ctx, r.regions(), found.ControllerID)
	if err != nil {
		return AssignResponse{}, fmt.Errorf("read the fleet: %w", err)
	}
	if !isKnown || holder.Facts.Stale || (found.Incarnation != "" && holder.Incarnation != found.Incarnation) {
		return AssignResponse{}, ErrNotAssigned
	}
	return AssignResponse{Assignment: found, Controller: holder, IsReused: true}, nil
}

// try reserves the meeting for a controller, asks it, and confirms. The error wraps errNextCandidate if another controller may be tried.
func (p *Placer) try(ctx context.Context, r AssignRequest, chosen Controller, decision placement.Decision) (AssignResponse, error) {
	reservation := Reservation{
		AssignmentKey:        r.AssignmentKey,
		ControllerID:         chosen.ControllerID,
		Incarnation:          chosen.Incarnation,
		ExpectedParticipants: r.ExpectedParticipants,
		OrgID:                r.OrgID,
		SeriesID:             r.SeriesID,
		Reason:               decision.Reason(),
		ReplicaID:            p.cfg.ReplicaID,
		Actor:                CallerFrom(ctx).Subject,
	}
	if p.cfg.Asker != nil {
		reservation.Lifetime = p.cfg.AskTimeout + reservationSlack
	}

	result, err := p.cfg.Store.Reserve(ctx, reservation)
	switch {
	case errors.Is(err, ErrNotEligible):
		return AssignResponse{}, fmt.Errorf("%w: %s is no longer eligible", errNextCandidate, chosen.ControllerID)
	case err != nil:
		return AssignResponse{}, fmt.Errorf("reserve: %w", err)
	case !result.IsOwn:
		return p.shareAssignment(ctx, r, result.Assignment)
	case result.Assignment.IsConfirmed:
		return AssignResponse{Assignment: result.Assignment, Controller: chosen}, nil
	}
	return p.askAndConfirm(ctx, r, chosen, result.Assignment)
}

func (p *Placer) askAndConfirm(ctx context.Context, r AssignRequest, chosen Controller, reserved Assignment) (AssignResponse, error) {
	outcome, reason := p.cfg.Asker.Ask(ctx, chosen, r.AssignmentKey)
	if outcome != AskAccepted {
		if outcome == AskRejected {
			p.cfg.Fleet.CoolDown(chosen.ControllerID, reason)
		}
		if err := p.cfg.Store.Release(ctx, r.AssignmentKey, reserved.Generation); err != nil {
			return AssignResponse{}, fmt.Errorf("release: %w", err)
		}
		return AssignResponse{}, fmt.Errorf("%w: %s: %s", errNextCandidate, chosen.ControllerID, reason)
	}

	isConfirmed, err := p.cfg.Store.Confirm(ctx, Confirmation{
		AssignmentKey: r.AssignmentKey,
		Generation:    reserved.Generation,
		Actor:         CallerFrom(ctx).Subject,
	})
	if err != nil {
		return AssignResponse{}, fmt.Errorf("confirm: %w", err)
	}
	if !isConfirmed {
		return p.reuse(ctx, r) // The reservation expired, and another request may have the meeting.
	}
	reserved.IsConfirmed = true
	return AssignResponse{Assignment: reserved, Controller: chosen}, nil
}
