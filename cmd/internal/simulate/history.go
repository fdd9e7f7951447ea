package simulate

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
	after   uint64

	mu     sync.Mutex
	all    []Transition
	states map[string]string // by id
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
	for {
		var answer *pb.ListTransitionsResponse
		err := h.read(ctx, func(ctx context.Context) (err error) {
			answer, err = h.fleet.ListTransitions(ctx, &pb.ListTransitionsRequest{After: h.after, PageSize: pageSize})
			return err
		})
		if err != nil {
			return fmt.Errorf("read the history: %w", err)
		}
		for _, t := range answer.GetTransitions() {
			h.take(t)
		}
		if h.after = answer.GetNextAfter(); len(answer.GetTransitions()) < pageSize {
			return nil
		}
	}
}

func (h *History) take(t *pb.Transition) {
	if !strings.HasPrefix(t.GetControllerId(), h.prefix) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	to := stateName(t.GetTo())
	h.all = append(h.all, Transition{
		t.GetControllerId(), stateName(t.GetFrom()), to, t.GetCause(), t.GetAt().AsTime(), time.Duration(t.GetSilenceMs()) * time.Millisecond, //nolint:gosec // Not that long.
	})
	if h.states[t.GetControllerId()] = to; to == "" {
		delete(h.states, t.GetControllerId())
	}
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

// Since returns the changes that match, from a number of them on.
func (h *History) Since(n int, match func(Transition) bool) (found []Transition) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.all[n:] {
		if match(t) {
			found = append(found, t)
		}
	}
	return found
}

// Len is how many changes there are so far.
func (h *History) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.all)
}

// State is a controller's public state as far as it was read, "" when it is not in the fleet.
func (h *History) State(id string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.states[id]
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
