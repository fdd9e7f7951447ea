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
	// followInterval is how often the history is read.
	followInterval = 250 * time.Millisecond
	pageSize       = 1000
	readTimeout    = 5 * time.Second
)

// Transition is one change of a controller's public state.
type Transition struct {
	Number              uint64
	ID, From, To, Cause string
	At                  time.Time
	Silence             time.Duration
}

// History follows what the Global Controller records of our controllers.
type History struct {
	fleet  pb.FleetServiceClient
	tokens client.TokenSource
	prefix string

	reading sync.Mutex // held by the one who reads
	began   uint64     // the last change before ours
	after   uint64     // the last one that was read

	mu     sync.Mutex
	all    []Transition
	states map[string]string // by id
	asOf   time.Time         // when they were last read
	missed int               // changes that came to light behind one that was read before
}

func newHistory(fleet pb.FleetServiceClient, tokens client.TokenSource, prefix string) *History {
	return &History{fleet: fleet, tokens: tokens, prefix: prefix + "-", states: make(map[string]string)}
}

// follow reads until ctx ends. What cannot be read now is read later.
func (h *History) follow(ctx context.Context) {
	for pause(ctx, followInterval) {
		_ = h.Sync(ctx)
	}
}

// Sync reads all that is new.
func (h *History) Sync(ctx context.Context) error {
	h.reading.Lock()
	defer h.reading.Unlock()
	after, err := h.from(ctx, h.after, h.take)
	h.after = after
	return err
}

// Repair reads all of it anew, and notes what following it has missed.
func (h *History) Repair(ctx context.Context) error {
	h.reading.Lock()
	defer h.reading.Unlock()
	var found []Transition
	after, err := h.from(ctx, h.began, func(t Transition) { found = append(found, t) })
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	known := make(map[uint64]bool, len(h.all))
	for _, t := range h.all {
		known[t.Number] = true
	}
	h.all, h.states = nil, make(map[string]string)
	for _, t := range found {
		if !known[t.Number] && t.Number <= h.after {
			h.missed++
		}
		h.takeLocked(t)
	}
	h.after = after
	return nil
}

// Missed is how many changes following the history has missed, as far as Repair has found.
func (h *History) Missed() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.missed
}

// from reads what follows a change, and returns the last one that it has read.
func (h *History) from(ctx context.Context, after uint64, take func(Transition)) (uint64, error) {
	for {
		asked := time.Now()
		var answer *pb.ListTransitionsResponse
		err := h.read(ctx, func(ctx context.Context) (err error) {
			answer, err = h.fleet.ListTransitions(ctx, &pb.ListTransitionsRequest{After: after, PageSize: pageSize})
			return err
		})
		if err != nil {
			return after, fmt.Errorf("read the history: %w", err)
		}
		for _, t := range answer.GetTransitions() {
			if strings.HasPrefix(t.GetControllerId(), h.prefix) {
				take(Transition{
					t.GetId(), t.GetControllerId(), stateName(t.GetFrom()), stateName(t.GetTo()), t.GetCause(), t.GetAt().AsTime(),
					time.Duration(t.GetSilenceMs()) * time.Millisecond, //nolint:gosec // Not that long.
				})
			}
		}
		if after = answer.GetNextAfter(); len(answer.GetTransitions()) < pageSize {
			h.mu.Lock()
			h.asOf = asked
			h.mu.Unlock()
			return after, nil
		}
	}
}

func (h *History) take(t Transition) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.takeLocked(t)
}

func (h *History) takeLocked(t Transition) {
	h.all = append(h.all, t)
	if h.states[t.ID] = t.To; t.To == "" {
		delete(h.states, t.ID)
	}
}

// Begin passes over what there is already.
func (h *History) Begin(ctx context.Context) error {
	err := h.Sync(ctx)
	h.began = h.after
	return err
}

// stateName is "" for no state.
func stateName(h pb.Health) string {
	if h == pb.Health_HEALTH_UNSPECIFIED {
		return ""
	}
	return strings.ToLower(strings.TrimPrefix(h.String(), "HEALTH_"))
}

func (h *History) read(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	token, err := h.tokens.Token(ctx)
	if err != nil {
		return err
	}
	return call(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token))
}

// Since returns the changes behind a number that match.
func (h *History) Since(n uint64, match func(Transition) bool) (found []Transition) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.all {
		if t.Number > n && match(t) {
			found = append(found, t)
		}
	}
	return found
}

// Last is the number of the last change that was read.
func (h *History) Last() uint64 {
	h.reading.Lock()
	defer h.reading.Unlock()
	return h.after
}

// State is a controller's public state as far as it was read, "" when it is not in the fleet.
func (h *History) State(id string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.states[id]
}

// AsOf is the time that the states are from.
func (h *History) AsOf() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.asOf
}

// Fleet reads all of our controllers from the Global Controller.
func (h *History) Fleet(ctx context.Context) (map[string]*pb.Controller, error) {
	found := make(map[string]*pb.Controller)
	for page := ""; ; {
		var answer *pb.ListControllersResponse
		err := h.read(ctx, func(ctx context.Context) (err error) {
			answer, err = h.fleet.ListControllers(ctx, &pb.ListControllersRequest{PageSize: pageSize, PageToken: page})
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("read the fleet: %w", err)
		}
		for _, c := range answer.GetControllers() {
			if strings.HasPrefix(c.GetControllerId(), h.prefix) {
				found[c.GetControllerId()] = c
			}
		}
		if page = answer.GetNextPageToken(); page == "" {
			return found, nil
		}
	}
}
