package httptransport

import (
	"bytes"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"darktower.example/global-controller/service"
	"darktower.example/global-controller/transport"
)

const watchDescription = "Server-sent events. `snapshot` has a part of the fleet: `begin` means that earlier data is void, " +
	"`end` that the snapshot is complete. `changes` has changed controllers. `loads` has loads, only if `loads=true` is set. " +
	"`beat` has only the time and is sent every 5 s. `error` is the last event of a watch that the server ends. " +
	"The `data` of an event has only the members of its kind. " +
	"To resume, send the last `id` as `after`, or as the header Last-Event-ID, which takes precedence. " +
	"If the id does not belong to this history, the server sends a snapshot with the reason `gone`."

type snapshotBody struct {
	AsOf        time.Time        `json:"as_of"`
	Begin       bool             `json:"begin"`
	End         bool             `json:"end"`
	Reason      string           `json:"reason"`
	Controllers []controllerBody `json:"controllers"`
}

type changeBody struct {
	ControllerID string          `json:"controller_id"`
	Controller   *controllerBody `json:"controller"`
	Transition   *transitionBody `json:"transition"`
}

type changesBody struct {
	AsOf    time.Time    `json:"as_of"`
	Changes []changeBody `json:"changes"`
}

type loadBody struct {
	ControllerID        string    `json:"controller_id"`
	CurrentMeetings     int64     `json:"current_meetings"`
	CurrentParticipants int64     `json:"current_participants"`
	CPUUsagePercent     *float64  `json:"cpu_usage_percent"`
	MemoryUsagePercent  *float64  `json:"memory_usage_percent"`
	LastHeartbeatAt     time.Time `json:"last_heartbeat_at"`
	Drained             bool      `json:"drained"`
}

type loadsBody struct {
	AsOf  time.Time  `json:"as_of"`
	Loads []loadBody `json:"loads"`
}

type beatBody struct {
	AsOf time.Time `json:"as_of"`
}

// watchBodies has the members of all kinds of events, for the OpenAPI document.
type watchBodies struct {
	AsOf        time.Time        `json:"as_of"`
	Begin       bool             `json:"begin"`
	End         bool             `json:"end"`
	Reason      string           `json:"reason"`
	Controllers []controllerBody `json:"controllers"`
	Changes     []changeBody     `json:"changes"`
	Loads       []loadBody       `json:"loads"`
}

// encodeWatchEvent encodes an event as a server-sent event. The JSON has no line breaks, so one line of data is enough.
func encodeWatchEvent(e service.WatchEvent) ([]byte, error) {
	asOf := e.AsOf.UTC()

	switch {
	case e.Snapshot != nil:
		body := snapshotBody{
			AsOf:        asOf,
			Begin:       e.Snapshot.Begin,
			End:         e.Snapshot.End,
			Reason:      e.Snapshot.Reason,
			Controllers: make([]controllerBody, 0, len(e.Snapshot.Controllers)),
		}
		for _, c := range e.Snapshot.Controllers {
			body.Controllers = append(body.Controllers, controllerToBody(*c))
		}
		return encodeEvent(e.Cursor(), "snapshot", body)
	case e.Changes != nil:
		body := changesBody{AsOf: asOf, Changes: make([]changeBody, 0, len(e.Changes))}
		for _, c := range e.Changes {
			body.Changes = append(body.Changes, changeToBody(c))
		}
		return encodeEvent(e.Cursor(), "changes", body)
	case e.Loads != nil:
		body := loadsBody{AsOf: asOf, Loads: make([]loadBody, 0, len(e.Loads))}
		for _, l := range e.Loads {
			body.Loads = append(body.Loads, loadToBody(l))
		}
		return encodeEvent(e.Cursor(), "loads", body)
	default:
		return encodeEvent(e.Cursor(), "beat", beatBody{AsOf: asOf})
	}
}

func loadToBody(l service.WatchLoad) loadBody {
	return loadBody{
		ControllerID:        l.ControllerID,
		CurrentMeetings:     l.CurrentMeetings,
		CurrentParticipants: l.CurrentParticipants,
		CPUUsagePercent:     l.CPUUsagePercent,
		MemoryUsagePercent:  l.MemoryUsagePercent,
		LastHeartbeatAt:     l.LastHeartbeatAt.UTC(),
		Drained:             l.Drained,
	}
}

func changeToBody(c service.WatchChange) changeBody {
	body := changeBody{ControllerID: c.ControllerID}
	if c.Controller != nil {
		shown := controllerToBody(*c.Controller)
		body.Controller = &shown
	}
	if c.Transition != nil {
		shown := transitionToBody(*c.Transition)
		body.Transition = &shown
	}
	return body
}

// encodeWatchError encodes the last event of a watch that the server ends.
func encodeWatchError(err error) ([]byte, error) {
	s := transport.StatusOf(err)
	var body errorBody
	body.Error.Code, body.Error.Message = s.Name, s.Message
	return encodeEvent(service.Cursor{}, "error", body)
}

// encodeEvent encodes one server-sent event; without an id if the cursor is zero.
func encodeEvent(c service.Cursor, name string, body any) ([]byte, error) {
	var out bytes.Buffer
	if c.ID != 0 {
		out.WriteString("id: " + c.String() + "\n")
	}
	out.WriteString("event: " + name + "\ndata: ")
	if err := json.MarshalWrite(&out, body); err != nil {
		return nil, fmt.Errorf("encode watch event: %w", err)
	}
	out.WriteString("\n\n")
	return out.Bytes(), nil
}
