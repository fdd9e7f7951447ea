package httptransport

import (
	"bytes"
	"errors"
	"io"
	"net/http"
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

type drainPlanBody struct {
	Safe                 bool       `json:"safe"`
	Reasons              []string   `json:"reasons"`
	MeetingsAffected     int64      `json:"meetings_affected"`
	ParticipantsAffected int64      `json:"participants_affected"`
	Before               regionBody `json:"before"`
	After                regionBody `json:"after"`
}

// drainResponseBody is the controller, in the form of all other responses, and the plan.
type drainResponseBody struct {
	controllerBody
	Plan drainPlanBody `json:"plan"`
}

type deregistrationResponseBody struct {
	Deregistered bool `json:"deregistered"`
}

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

func encodeDrainResponse(d service.DrainResponse) any {
	return drainResponseBody{
		controllerBody: controllerToBody(d.Controller),
		Plan: drainPlanBody{
			Safe:                 d.Plan.IsSafe(),
			Reasons:              d.Plan.Reasons,
			MeetingsAffected:     d.Plan.MeetingsAffected,
			ParticipantsAffected: d.Plan.ParticipantsAffected,
			Before:               regionToBody(d.Plan.Before),
			After:                regionToBody(d.Plan.After),
		},
	}
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

func encodeDeregistrationResponse(service.DeregistrationResponse) any {
	return deregistrationResponseBody{Deregistered: true}
}

func intentToBody(i service.Intent) *intentBody {
	if !i.Draining {
		return nil
	}
	return &intentBody{Draining: true, Deadline: timeOrNull(i.Deadline), Reason: i.Reason}
}
