package httptransport

import (
	"net/http"
	"net/url"
	"time"

	"darktower.example/global-controller/service"
)

type transitionBody struct {
	ID             int64     `json:"id"`
	ControllerID   string    `json:"controller_id"`
	Region         string    `json:"region"`
	At             time.Time `json:"at"`
	From           *health   `json:"from"`
	To             *health   `json:"to"`
	Cause          string    `json:"cause"`
	Actor          string    `json:"actor"`
	Reason         string    `json:"reason"`
	SilenceMs      int64     `json:"silence_ms"`
	ReportedHealth health    `json:"reported_health"`
}

type transitionsBody struct {
	Transitions []transitionBody `json:"transitions"`
	NextAfter   int64            `json:"next_after"`
	NextBefore  int64            `json:"next_before"`
	NextCursor  string           `json:"next_cursor"`
}

// The query parameters of the history.
var (
	controllerTransitionsQuery = []string{"after", "before", "since", "until", "order", "page_size"}
	transitionsQuery           = append([]string{"region"}, controllerTransitionsQuery...)
)

func decodeTransitionQuery(r *http.Request) (service.TransitionQuery, error) {
	values, err := fromQuery(r, transitionsQuery...)
	if err != nil {
		return service.TransitionQuery{}, err
	}
	return decodeTransitionPaging(service.TransitionQuery{Region: values.Get("region")}, values)
}

func decodeControllerTransitionQuery(r *http.Request) (service.TransitionQuery, error) {
	q := service.TransitionQuery{ControllerID: r.PathValue("id")}
	values, err := fromQuery(r, controllerTransitionsQuery...)
	if err != nil {
		return q, err
	}
	return decodeTransitionPaging(q, values)
}

// decodeTransitionPaging adds to q the parameters that both routes of the history have.
func decodeTransitionPaging(q service.TransitionQuery, values url.Values) (service.TransitionQuery, error) {
	var err error
	if after := values.Get("after"); after != "" {
		cursor, err := service.ParseCursor(after)
		if err != nil {
			return q, err
		}
		q.After, q.Fingerprint = cursor.ID, cursor.Fingerprint
	}

	if values.Get("before") != "" {
		if q.Before, err = naturalNumber(values, "before"); err != nil {
			return q, err
		}
	}

	if q.Since, err = timeParameter(values, "since"); err != nil {
		return q, err
	}
	if q.Until, err = timeParameter(values, "until"); err != nil {
		return q, err
	}

	switch values.Get("order") {
	case "", "oldest":
	case "newest":
		q.NewestFirst = true
	default:
		return q, badInput("order must be oldest or newest")
	}

	q.PageSize, err = pageSize(values)
	return q, err
}

func encodeTransitions(p service.TransitionPage) any {
	body := transitionsBody{
		Transitions: make([]transitionBody, 0, len(p.Transitions)),
		NextAfter:   p.NextAfter,
		NextBefore:  p.NextBefore,
		NextCursor:  p.Next.String(),
	}
	for _, t := range p.Transitions {
		body.Transitions = append(body.Transitions, transitionToBody(t))
	}
	return body
}

func transitionToBody(t service.Transition) transitionBody {
	return transitionBody{
		ID:             t.ID,
		ControllerID:   t.ControllerID,
		Region:         t.Region,
		At:             t.At.UTC(),
		From:           healthOrNull(t.From),
		To:             healthOrNull(t.To),
		Cause:          string(t.Cause),
		Actor:          t.Actor,
		Reason:         t.Reason,
		SilenceMs:      t.Silence.Milliseconds(),
		ReportedHealth: health(t.Reported),
	}
}
