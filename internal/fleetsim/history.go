package fleetsim

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/metadata"

	"darktower.example/global-controller/pkg/client"
	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

const (
	// followInterval is the interval between two reads of the history.
	followInterval = 250 * time.Millisecond
	pageSize       = 1000
	readTimeout    = 5 * time.Second
)

// Transition is one change of a controller's public state.
type Transition struct {
	ID           uint64
	ControllerID string
	From         string
	To           string
	Cause        string
	At           time.Time
	Silence      time.Duration
}

// isStale reports whether the transition is that of a controller that was marked stale.
func isStale(t Transition) bool { return t.Cause == "stale" }

// History follows the transitions that the Global Controller records of the fleet.
type History struct {
	fleet    pb.FleetServiceClient
	tokens   client.TokenSource
	idPrefix string

	reading sync.Mutex // serializes reads of the Global Controller
	startID uint64     // the last transition before the fleet's first
	lastID  uint64     // the last transition that was read

	mu          sync.Mutex
	transitions []Transition
	states      map[string]string // by controller id
	readAt      time.Time         // when the states were last read
	missed      int               // transitions that appeared before one that had been read already
}

func newHistory(fleet pb.FleetServiceClient, tokens client.TokenSource, idPrefix string) *History {
	return &History{
		fleet:    fleet,
		tokens:   tokens,
		idPrefix: idPrefix + "-",
		states:   make(map[string]string),
	}
}

// SkipExisting makes the history begin after the transitions that exist already.
func (h *History) SkipExisting(ctx context.Context) error {
	err := h.Sync(ctx)
	h.startID = h.lastID
	return err
}

// follow reads new transitions until ctx ends. After an error, the next read returns what this one would have.
func (h *History) follow(ctx context.Context) {
	for pause(ctx, followInterval) {
		_ = h.Sync(ctx)
	}
}

// Sync reads all new transitions.
func (h *History) Sync(ctx context.Context) error {
	h.reading.Lock()
	defer h.reading.Unlock()
	lastID, err := h.readAfter(ctx, h.lastID, h.record)
	h.lastID = lastID
	return err
}

// Reread reads the whole history again, and counts the transitions that following it has missed.
func (h *History) Reread(ctx context.Context) error {
	h.reading.Lock()
	defer h.reading.Unlock()
	var found []Transition
	lastID, err := h.readAfter(ctx, h.startID, func(t Transition) { found = append(found, t) })
	if err != nil {
		return err
	}

	h.mu.Lock()
	defer h.mu.Unlock()
	isKnown := make(map[uint64]bool, len(h.transitions))
	for _, t := range h.transitions {
		isKnown[t.ID] = true
	}

	h.transitions = nil
	h.states = make(map[string]string)
	for _, t := range found {
		if !isKnown[t.ID] && t.ID <= h.lastID {
			h.missed++
		}
		h.recordLocked(t)
	}
	h.lastID = lastID
	return nil
}

// CountMissed returns how many transitions following the history has missed, as far as Reread has found.
func (h *History) CountMissed() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.missed
}

// readAfter reads the transitions after an id, and returns the id of the last one that it has read.
func (h *History) readAfter(ctx context.Context, id uint64, record func(Transition)) (uint64, error) {
	for {
		requestedAt := time.Now()
		var response *pb.ListTransitionsResponse
		err := h.callWithToken(ctx, func(ctx context.Context) (err error) {
			response, err = h.fleet.ListTransitions(ctx, &pb.ListTransitionsRequest{After: id, PageSize: pageSize})
			return err
		})
		if err != nil {
			return id, fmt.Errorf("read the history: %w", err)
		}

		for _, t := range response.GetTransitions() {
			if strings.HasPrefix(t.GetControllerId(), h.idPrefix) {
				record(transitionFromProto(t))
			}
		}

		id = response.GetNextAfter()
		if len(response.GetTransitions()) < pageSize {
			h.mu.Lock()
			h.readAt = requestedAt
			h.mu.Unlock()
			return id, nil
		}
	}
}

func transitionFromProto(t *pb.Transition) Transition {
	return Transition{
		ID:           t.GetId(),
		ControllerID: t.GetControllerId(),
		From:         stateName(t.GetFrom()),
		To:           stateName(t.GetTo()),
		Cause:        t.GetCause(),
		At:           t.GetAt().AsTime(),
		Silence:      time.Duration(t.GetSilenceMs()) * time.Millisecond, //nolint:gosec // Not that long.
	}
}

// stateName returns "" for no state.
func stateName(h pb.Health) string {
	if h == pb.Health_HEALTH_UNSPECIFIED {
		return ""
	}
	return strings.ToLower(strings.TrimPrefix(h.String(), "HEALTH_"))
}

func (h *History) record(t Transition) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.recordLocked(t)
}

func (h *History) recordLocked(t Transition) {
	h.transitions = append(h.transitions, t)
	if t.To == "" {
		delete(h.states, t.ControllerID)
	} else {
		h.states[t.ControllerID] = t.To
	}
}

func (h *History) callWithToken(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	token, err := h.tokens.Token(ctx)
	if err != nil {
		return err
	}
	return call(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token))
}

// TransitionsAfter returns the transitions after an id that match.
func (h *History) TransitionsAfter(id uint64, matches func(Transition) bool) (found []Transition) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.transitions {
		if t.ID > id && matches(t) {
			found = append(found, t)
		}
	}
	return found
}

// LastID returns the id of the last transition that was read.
func (h *History) LastID() uint64 {
	h.reading.Lock()
	defer h.reading.Unlock()
	return h.lastID
}

// State returns a controller's public state as it was last read, "" if the controller is not in the fleet.
func (h *History) State(controllerID string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.states[controllerID]
}

// ReadAt returns when the states were last read.
func (h *History) ReadAt() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.readAt
}

// ListControllers reads all controllers of the simulated fleet, by id, from the Global Controller.
func (h *History) ListControllers(ctx context.Context) (map[string]*pb.Controller, error) {
	found := make(map[string]*pb.Controller)
	for page := ""; ; {
		var response *pb.ListControllersResponse
		err := h.callWithToken(ctx, func(ctx context.Context) (err error) {
			response, err = h.fleet.ListControllers(ctx, &pb.ListControllersRequest{PageSize: pageSize, PageToken: page})
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("read the fleet: %w", err)
		}

		for _, c := range response.GetControllers() {
			if strings.HasPrefix(c.GetControllerId(), h.idPrefix) {
				found[c.GetControllerId()] = c
			}
		}
		page = response.GetNextPageToken()
		if page == "" {
			return found, nil
		}
	}
}
