package httptransport

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
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

type deregisteredBody struct {
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

// The parameters of the history.
var (
	transitionsQueryOfOne = []string{"after", "before", "since", "until", "order", "page_size"}
	transitionsQuery      = append([]string{"region"}, transitionsQueryOfOne...)
)

// decodeDrain: everything in the body is optional, and so is the body.
func decodeDrain(r *http.Request) (service.DrainOrder, error) {
	var b drainOrderBody
	order := service.DrainOrder{ControllerID: r.PathValue("id")}
	if hasBody(r) {
		if err := fromBody(r, &b); err != nil {
			return order, err
		}
	}
	order.Reason, order.ExpectedGeneration, order.DryRun, order.Force, order.AssumeDrained = b.Reason, b.ExpectedGeneration, b.DryRun, b.Force, b.AssumeDrained
	if b.Deadline != nil {
		order.Deadline = b.Deadline.UTC()
	}
	return order, nil
}

// hasBody reports whether a request has a body that is not empty. A body that is sent in pieces does not say its length.
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

// generationParameter is nil when none is given.
func generationParameter(values url.Values) (*int64, error) {
	if !values.Has("expected_generation") {
		return nil, nil //nolint:nilnil // No generation is an answer here, not an error.
	}
	generation, err := naturalNumber(values, "expected_generation")
	return &generation, err
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
	return pagedTransitions(q, values)
}

func decodeTransitionQueryOfOne(r *http.Request) (service.TransitionQuery, error) {
	q := service.TransitionQuery{ControllerID: r.PathValue("id")}
	values, err := fromQuery(r, transitionsQueryOfOne...)
	if err != nil {
		return q, err
	}
	return pagedTransitions(q, values)
}

func pagedTransitions(q service.TransitionQuery, values url.Values) (_ service.TransitionQuery, err error) {
	if given := values.Get("after"); given != "" {
		c, err := service.ParseCursor(given)
		if err != nil {
			return q, err
		}
		q.After, q.Fingerprint = c.ID, c.Fingerprint
	}
	if values.Get("before") != "" {
		if q.Before, err = naturalNumber(values, "before"); err != nil {
			return q, err
		}
	}
	for name, into := range map[string]*time.Time{"since": &q.Since, "until": &q.Until} {
		if *into, err = timeParameter(values, name); err != nil {
			return q, err
		}
	}
	switch values.Get("order") {
	case "", "oldest":
	case "newest":
		q.NewestFirst = true
	default:
		return q, unreadable("order must be oldest or newest")
	}
	q.PageSize, err = pageSize(values)
	return q, err
}

// timeParameter is the zero time when none is given.
func timeParameter(values url.Values, name string) (time.Time, error) {
	given := values.Get(name)
	if given == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, given)
	if err != nil {
		return time.Time{}, unreadable(name + mustBeTime)
	}
	return t.UTC(), nil
}

func naturalNumber(values url.Values, name string) (int64, error) {
	n, err := strconv.ParseInt(values.Get(name), 10, 64)
	if err != nil || n < 0 {
		return 0, unreadable(name + " must be a whole number, 0 or more")
	}
	return n, nil
}

func encodeDeregistered(service.Deregistered) any { return deregisteredBody{true} }

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
		ID: t.ID, ControllerID: t.ControllerID, Region: t.Region, At: t.At.UTC(), From: healthOrNull(t.From), To: healthOrNull(t.To),
		Cause: string(t.Cause), Actor: t.Actor, Reason: t.Reason, SilenceMs: t.Silence.Milliseconds(), ReportedHealth: health(t.Reported),
	}
}

func intentToBody(i service.Intent) *intentBody {
	if !i.Draining {
		return nil
	}
	return &intentBody{true, timeOrNull(i.Deadline), i.Reason}
}

// healthOrNull: a controller that is not there has no state.
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
