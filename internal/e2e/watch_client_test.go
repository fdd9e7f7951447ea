package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	fleetpb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// watched is an event of a watch over any transport.
type watched struct {
	Cursor   string
	ID       int64
	Kind     string
	Body     watchedBody
	gRPCCode codes.Code // of the last event over gRPC
}

type watchedBody struct {
	AsOf        string `json:"as_of"`
	Begin, End  bool
	Reason      string
	Controllers []watchedController
	Changes     []watchedChange
	Loads       []watchedLoad
	Error       struct{ Code string }
}

type watchedController struct {
	ControllerID string `json:"controller_id"`
	Region       string
	Health       string
	MaxMeetings  int `json:"max_meetings"`
	Drained      bool
}

type watchedChange struct {
	ControllerID string             `json:"controller_id"`
	Controller   *watchedController // nil if it left the fleet
}

type watchedLoad struct {
	ControllerID    string `json:"controller_id"`
	CurrentMeetings int    `json:"current_meetings"`
}

// watchOptions are the parameters of a watch.
type watchOptions struct {
	after  int64 // 0: from the beginning
	cursor string
	loads  bool
	token  string           // empty: that of a reader
	conn   *grpc.ClientConn // nil: that of the environment
}

// watchTransports returns the functions that open a watch, by the transport.
func watchTransports() map[string]func(*environment, watchOptions) *watchClient {
	return map[string]func(*environment, watchOptions) *watchClient{
		"grpc": (*environment).watchGRPC,
		"http": (*environment).watchHTTP,
	}
}

// watchClient reads a watch and keeps the fleet that it shows.
type watchClient struct {
	t      testing.TB
	cancel context.CancelFunc
	done   chan struct{}

	mu          sync.Mutex
	fleet       map[string]watchedController
	hasSnapshot bool
	events      []watched
}

func (env *environment) newWatchClient(cancel context.CancelFunc) *watchClient {
	v := &watchClient{t: env.t, cancel: cancel, done: make(chan struct{}), fleet: make(map[string]watchedController)}
	env.t.Cleanup(v.close)
	return v
}

func (env *environment) watchGRPC(o watchOptions) *watchClient {
	env.t.Helper()
	if o.token == "" {
		o.token = env.readerToken()
	}
	if o.conn == nil {
		o.conn = env.conn
	}
	in := &fleetpb.WatchRequest{Loads: o.loads}
	if o.after > 0 {
		in.After = new(uint64(o.after))
	}
	if o.cursor != "" {
		in.Cursor = &o.cursor
	}

	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+o.token))
	stream, err := fleetpb.NewFleetServiceClient(o.conn).Watch(ctx, in)
	if err != nil {
		env.t.Fatalf("Watch() = %v", err)
	}

	v := env.newWatchClient(cancel)
	go func() {
		defer close(v.done)
		for {
			out, err := stream.Recv()
			if err != nil {
				v.apply(watched{Kind: "error", gRPCCode: status.Code(err)})
				return
			}
			v.apply(fromProto(out))
		}
	}()
	return v
}

// fromProto returns the event that the other transport has for a response.
func fromProto(out *fleetpb.WatchResponse) watched {
	data, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(out)
	if err != nil {
		panic(err)
	}
	var body struct {
		AsOf     string `json:"as_of"`
		Snapshot *watchedBody
		Changes  *struct{ Changes []watchedChange }
		Loads    *struct{ Loads []watchedLoad }
		Beat     *struct{}
	}

	text := strings.ReplaceAll(string(data), `"HEALTH_`, `"`)
	if err := json.Unmarshal([]byte(text), &body); err != nil {
		panic(fmt.Sprintf("%v: %s", err, text))
	}

	e := watched{ID: int64(out.GetId()), Cursor: out.GetCursor()}
	switch {
	case body.Snapshot != nil:
		e.Kind, e.Body = "snapshot", *body.Snapshot
	case body.Changes != nil:
		e.Kind, e.Body.Changes = "changes", body.Changes.Changes
	case body.Loads != nil:
		e.Kind, e.Body.Loads = "loads", body.Loads.Loads
	case body.Beat != nil:
		e.Kind = "beat"
	}
	e.Body.AsOf = body.AsOf
	return e
}

func (env *environment) watchHTTP(o watchOptions) *watchClient {
	env.t.Helper()
	if o.token == "" {
		o.token = env.readerToken()
	}

	ctx, cancel := context.WithCancel(context.Background())
	url := fmt.Sprintf("http://%s/api/v1/watch?loads=%v", env.httpAddress, o.loads)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		env.t.Fatalf("watch: %v", err)
	}

	request.Header = bearer(o.token)
	if o.after > 0 {
		request.Header.Set("Last-Event-ID", fmt.Sprint(o.after))
	}
	if o.cursor != "" {
		request.Header.Set("Last-Event-ID", o.cursor)
	}

	response, err := env.http.Do(request)
	if err != nil {
		env.t.Fatalf("watch: %v", err)
	}
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
		env.t.Fatalf("watch = %d %v, want a stream of events", response.StatusCode, response.Header)
	}

	v := env.newWatchClient(cancel)
	go func() {
		defer close(v.done)
		defer func() { _ = response.Body.Close() }()
		lines := bufio.NewReader(response.Body)
		for {
			e, err := readEvent(lines)
			if err != nil {
				return
			}
			v.apply(e)
		}
	}()
	return v
}

// readEvent reads one event, up to the empty line after it.
func readEvent(lines *bufio.Reader) (watched, error) {
	var e watched
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return e, err
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")

		switch name {
		case "":
			return e, nil
		case "id":
			e.Cursor = value
			_, err = fmt.Sscan(value, &e.ID)
		case "event":
			e.Kind = value
		case "data":
			err = json.Unmarshal([]byte(value), &e.Body)
		default:
			err = errors.New("unknown field " + name)
		}
		if err != nil {
			return e, err
		}
	}
}

// close ends the watch. It may be called twice.
func (v *watchClient) close() {
	v.cancel()
	<-v.done
}

// apply changes the fleet as the protocol requires.
func (v *watchClient) apply(e watched) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.events = append(v.events, e)

	switch e.Kind {
	case "snapshot":
		if e.Body.Begin {
			v.fleet, v.hasSnapshot = make(map[string]watchedController), false
		}
		for _, c := range e.Body.Controllers {
			v.setController(c)
		}
		v.hasSnapshot = v.hasSnapshot || e.Body.End
	case "changes":
		for _, c := range e.Body.Changes {
			if c.Controller == nil {
				delete(v.fleet, c.ControllerID)
			} else {
				v.setController(*c.Controller)
			}
		}
	}
}

func (v *watchClient) setController(c watchedController) {
	c.Health = strings.ToLower(c.Health)
	v.fleet[c.ControllerID] = c
}

// shown returns a controller as the watch shows it; the zero value if it does not.
func (v *watchClient) shown(id string) watchedController {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.fleet[id]
}

// showsState reports whether the watch shows a controller in a state; an empty one means that it shows no such controller.
func (v *watchClient) showsState(id, health string) bool { return v.shown(id).Health == health }

// isComplete reports whether the snapshot is complete.
func (v *watchClient) isComplete() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.hasSnapshot
}

// allEvents returns the events so far.
func (v *watchClient) allEvents() []watched {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]watched(nil), v.events...)
}

// hasEvent reports whether there was an event that matches.
func (v *watchClient) hasEvent(matches func(watched) bool) bool {
	for _, e := range v.allEvents() {
		if matches(e) {
			return true
		}
	}
	return false
}

// lastID returns the last id, after which a watch can resume.
func (v *watchClient) lastID() (id int64) {
	for _, e := range v.allEvents() {
		if e.ID != 0 {
			id = e.ID
		}
	}
	return id
}

// lastCursor returns the last cursor, after which a watch can resume.
func (v *watchClient) lastCursor() (cursor string) {
	for _, e := range v.allEvents() {
		if e.Cursor != "" {
			cursor = e.Cursor
		}
	}
	return cursor
}
