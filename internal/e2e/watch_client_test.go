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
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	fleetpb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// watched is an event of a watch, in words that fit both transports.
type watched struct {
	Cursor   string
	ID       int64
	Kind     string
	At       time.Time // when it was received
	Body     watchedBody
	gRPCCode codes.Code // of the last one over gRPC
}

type watchedBody struct {
	AsOf        time.Time `json:"as_of"`
	Begin, End  bool
	Reason      string
	Controllers []watchedController
	Changes     []watchedChange
	Loads       []struct {
		ControllerID    string `json:"controller_id"`
		CurrentMeetings int    `json:"current_meetings"`
	}
	Error struct{ Code string }
}

type watchedController struct {
	ControllerID string `json:"controller_id"`
	Region       string
	Health       string
	MaxMeetings  int `json:"max_meetings"`
	Drained      bool
}

type watchedChange struct {
	ControllerID string `json:"controller_id"`
	Controller   *watchedController
	Transition   *struct {
		ID         any
		From, To   *string
		Reason     string
		Controller string `json:"controller_id"`
	}
}

// watchClient reads a watch and knows the fleet by it.
type watchClient struct {
	t      testing.TB
	cancel context.CancelFunc
	done   chan struct{}

	mu          sync.Mutex
	fleet       map[string]watchedController
	hasSnapshot bool // The snapshot is complete.
	events      []watched
	onEvent     func(watched) // told of each event; may be nil
}

// watchOptions is what a watch asks for.
type watchOptions struct {
	region  string
	after   int64 // 0: none
	cursor  string
	loads   bool
	token   string
	onEvent func(watched)
	conn    *grpc.ClientConn // instead of the world's own
}

func (env *environment) watchGRPC(o watchOptions) *watchClient {
	env.t.Helper()
	if o.token == "" {
		o.token = env.readerToken()
	}
	if o.conn == nil {
		o.conn = env.conn
	}

	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+o.token))
	in := &fleetpb.WatchRequest{Region: o.region, Loads: o.loads}
	if o.after > 0 {
		after := uint64(o.after)
		in.After = &after
	}
	if o.cursor != "" {
		in.Cursor = &o.cursor
	}

	stream, err := fleetpb.NewFleetServiceClient(o.conn).Watch(ctx, in)
	if err != nil {
		env.t.Fatalf("Watch() = %v", err)
	}
	v := env.newWatchClient(cancel, o)

	go func() {
		defer close(v.done)

		for {
			out, err := stream.Recv()
			if err != nil {
				v.apply(watched{Kind: "error", At: time.Now(), gRPCCode: status.Code(err)})
				return
			}

			v.apply(fromProto(out))
		}
	}()

	return v
}

// fromProto puts a response into the words of the other transport.
func fromProto(out *fleetpb.WatchResponse) watched {
	e := watched{ID: int64(out.GetId()), Cursor: out.GetCursor(), At: time.Now()}
	data, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(out)
	if err != nil {
		panic(err)
	}

	text := strings.ReplaceAll(string(data), `"HEALTH_`, `"`)

	var body struct {
		AsOf     time.Time `json:"as_of"`
		Snapshot *struct {
			Begin, End  bool
			Reason      string
			Controllers []watchedController
		}
		Changes *struct{ Changes []watchedChange }
		Loads   *struct {
			Loads []struct {
				ControllerID    string `json:"controller_id"`
				CurrentMeetings int    `json:"current_meetings"`
			}
		}
		Beat *struct{}
	}

	if err := json.Unmarshal([]byte(text), &body); err != nil {
		panic(fmt.Sprintf("%v: %s", err, text))
	}
	e.Body.AsOf = body.AsOf

	switch {
	case body.Snapshot != nil:
		e.Kind, e.Body.Begin, e.Body.End, e.Body.Reason, e.Body.Controllers = "snapshot", body.Snapshot.Begin, body.Snapshot.End, body.Snapshot.Reason, body.Snapshot.Controllers
	case body.Changes != nil:
		e.Kind, e.Body.Changes = "changes", body.Changes.Changes
	case body.Loads != nil:
		e.Kind, e.Body.Loads = "loads", body.Loads.Loads
	case body.Beat != nil:
		e.Kind = "beat"
	}

	return e
}

func (env *environment) watchHTTP(o watchOptions) *watchClient {
	env.t.Helper()
	if o.token == "" {
		o.token = env.readerToken()
	}
	ctx, cancel := context.WithCancel(context.Background())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/api/v1/watch?region=%s&loads=%v", env.httpAddress, o.region, o.loads), nil)
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

	v := env.newWatchClient(cancel, o)

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

// readEvent reads one event up to the empty line behind it.
func readEvent(lines *bufio.Reader) (e watched, _ error) {
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return e, err
		}
		line = strings.TrimSuffix(line, "\n")
		name, value, _ := strings.Cut(line, ": ")

		switch name {
		case "":
			e.At = time.Now()
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

func (env *environment) newWatchClient(cancel context.CancelFunc, o watchOptions) *watchClient {
	v := &watchClient{t: env.t, cancel: cancel, done: make(chan struct{}), fleet: map[string]watchedController{}, onEvent: o.onEvent}
	env.t.Cleanup(v.close)
	return v
}

func (v *watchClient) close() {
	v.cancel()
	<-v.done
}

// apply follows the rules of the protocol.
func (v *watchClient) apply(e watched) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.events = append(v.events, e)

	switch e.Kind {
	case "snapshot":
		if e.Body.Begin {
			v.fleet, v.hasSnapshot = map[string]watchedController{}, false
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

	if v.onEvent != nil {
		v.onEvent(e)
	}
}

func (v *watchClient) setController(c watchedController) {
	c.Health = strings.ToLower(c.Health)
	v.fleet[c.ControllerID] = c
}

// showsState reports whether the watch shows a controller in a state; an empty one stands for none.
func (v *watchClient) showsState(id, health string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.fleet[id].Health == health
}

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

// hasEvent reports whether there was an event like this.
func (v *watchClient) hasEvent(like func(watched) bool) bool {
	for _, e := range v.allEvents() {
		if like(e) {
			return true
		}
	}
	return false
}

// lastID is what to go on from.
func (v *watchClient) lastID() (id int64) {
	for _, e := range v.allEvents() {
		if e.ID != 0 {
			id = e.ID
		}
	}
	return id
}
