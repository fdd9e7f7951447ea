package httptransport

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"

	"darktower.example/global-controller/service"
)

type intentBody struct {
	Draining bool       `json:"draining"`
	Deadline *time.Time `json:"deadline"`
	Reason   string     `json:"reason"`
}

type drainBody struct {
	Since          time.Time  `json:"since"`
	Deadline       *time.Time `json:"deadline"`
	Reason         string     `json:"reason"`
	By             string     `json:"by"`
	DeadlinePassed bool       `json:"deadline_passed"`
}

type drainOrderBody struct {
	Reason             string     `json:"reason"`
	Deadline           *time.Time `json:"deadline"`
	ExpectedGeneration *int64     `json:"expected_generation"`
	DryRun             bool       `json:"dry_run"`
	Force              bool       `json:"force"`
	AssumeDrained      []string   `json:"assume_drained"`
}

type deregistrationResponseBody struct {
	Deregistered bool `json:"deregistered"`
}

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

// decodeDrain decodes a drain order. Every field of the body is optional, and so is the body.
func decodeDrain(r *http.Request) (service.DrainOrder, error) {
	var b drainOrderBody
	order := service.DrainOrder{ControllerID: r.PathValue("id")}
	if hasBody(r) {
		if err := fromBody(r, &b); err != nil {
			return order, err
		}
	}

	order.Reason = b.Reason
	order.ExpectedGeneration = b.ExpectedGeneration
	order.DryRun = b.DryRun
	order.Force = b.Force
	order.AssumeDrained = b.AssumeDrained
	if b.Deadline != nil {
		order.Deadline = b.Deadline.UTC()
	}
	return order, nil
}

// hasBody reports whether a request has a body that is not empty. The length of a chunked body is unknown, so its first byte is read.
func hasBody(r *http.Request) bool {
	if r.ContentLength >= 0 {
		return r.ContentLength > 0
	}

	var first [1]byte
	n, err := io.ReadFull(r.Body, first[:])
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(first[:n]), r.Body), r.Body}
	return !errors.Is(err, io.EOF)
}

func decodeUndrain(r *http.Request) (service.UndrainOrder, error) {
	order := service.UndrainOrder{ControllerID: r.PathValue("id")}
	values, err := fromQuery(r, "reason", "expected_generation")
	if err != nil {
		return order, err
	}
	order.Reason = values.Get("reason")
	order.ExpectedGeneration, err = generationParameter(values)
	return order, err
}

func decodeDeregistration(r *http.Request) (service.Deregistration, error) {
	d := service.Deregistration{ControllerID: r.PathValue("id")}
	values, err := fromQuery(r, "reason", "expected_generation")
	if err != nil {
		return d, err
	}
	d.Reason = values.Get("reason")
	d.ExpectedGeneration, err = generationParameter(values)
	return d, err
}

func decodeTransitionQuery(r *http.Request) (q service.TransitionQuery, err error) {
	values, err := fromQuery(r, transitionsQuery...)
	if err != nil {
		return q, err
	}
	q.Region = values.Get("region")
	return decodeTransitionPaging(q, values)
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
func decodeTransitionPaging(q service.TransitionQuery, values url.Values) (_ service.TransitionQuery, err error) {
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

func encodeDeregistrationResponse(service.DeregistrationResponse) any {
	return deregistrationResponseBody{Deregistered: true}
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

func intentToBody(i service.Intent) *intentBody {
	if !i.Draining {
		return nil
	}
	return &intentBody{Draining: true, Deadline: timeOrNull(i.Deadline), Reason: i.Reason}
}

// healthOrNull converts a state; a controller that is not registered has none.
func healthOrNull(h service.HealthStatus) *health {
	if h == "" {
		return nil
	}
	shown := health(h)
	return &shown
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
