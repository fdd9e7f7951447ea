package httptransport

import (
	"net/http"
	"time"

	"darktower.example/global-controller/service"
)

type assignRequestBody struct {
	ExpectedParticipants int64             `json:"expected_participants"`
	OrgID                string            `json:"org_id"`
	SeriesID             string            `json:"series_id"`
	RequireLabels        map[string]string `json:"require_labels"`
	PreferLabels         map[string]string `json:"prefer_labels"`
	ExcludeControllers   []string          `json:"exclude_controllers"`
	SpillRegions         []string          `json:"spill_regions"`
	DryRun               bool              `json:"dry_run"`
}

type assignmentBody struct {
	MeetingID            string     `json:"meeting_id"`
	Region               string     `json:"region"`
	ControllerID         string     `json:"controller_id"`
	Generation           int64      `json:"generation"`
	AssignedAt           *time.Time `json:"assigned_at"`
	ExpectedParticipants int64      `json:"expected_participants"`
	Reason               string     `json:"reason"`
}

// assignResponseBody is an assignment with the endpoints of its controller.
type assignResponseBody struct {
	assignmentBody
	GRPCEndpoint         string  `json:"grpc_endpoint"`
	WebTransportEndpoint *string `json:"webtransport_endpoint"`
	Reused               bool    `json:"reused"`
}

type assignmentsBody struct {
	Assignments   []assignmentBody `json:"assignments"`
	NextPageToken string           `json:"next_page_token"`
}

func assignmentKeyFromPath(r *http.Request) service.AssignmentKey {
	return service.AssignmentKey{MeetingID: r.PathValue("meeting_id"), Region: r.PathValue("region")}
}

// decodeAssign decodes a request for a controller. Every field of the body is optional, and so is the body.
func decodeAssign(r *http.Request) (service.AssignRequest, error) {
	request := service.AssignRequest{AssignmentKey: assignmentKeyFromPath(r)}
	if !hasBody(r) {
		return request, nil
	}

	var b assignRequestBody
	if err := fromBody(r, &b); err != nil {
		return request, err
	}
	request.ExpectedParticipants = b.ExpectedParticipants
	request.OrgID = b.OrgID
	request.SeriesID = b.SeriesID
	request.RequireLabels = b.RequireLabels
	request.PreferLabels = b.PreferLabels
	request.ExcludeControllers = b.ExcludeControllers
	request.SpillRegions = b.SpillRegions
	request.DryRun = b.DryRun
	return request, nil
}

func decodeAssignmentQuery(r *http.Request) (service.AssignmentQuery, error) {
	_, err := fromQuery(r)
	return service.AssignmentQuery{AssignmentKey: assignmentKeyFromPath(r)}, err
}

func encodeAssignment(r service.AssignResponse) any {
	body := assignResponseBody{
		assignmentBody: assignmentToBody(r.Assignment),
		GRPCEndpoint:   r.Controller.GRPCEndpoint,
		Reused:         r.IsReused,
	}
	if r.Controller.WebTransportEndpoint != "" {
		body.WebTransportEndpoint = &r.Controller.WebTransportEndpoint
	}
	return body
}

func assignmentToBody(a service.Assignment) assignmentBody {
	return assignmentBody{
		MeetingID:            a.MeetingID,
		Region:               a.Region,
		ControllerID:         a.ControllerID,
		Generation:           a.Generation,
		AssignedAt:           timeOrNull(a.AssignedAt),
		ExpectedParticipants: a.ExpectedParticipants,
		Reason:               a.Reason,
	}
}

func decodeAssignmentListQuery(r *http.Request) (service.AssignmentListQuery, error) {
	values, err := fromQuery(r, "meeting_id", "controller_id", "region", "page_size", "page_token")
	if err != nil {
		return service.AssignmentListQuery{}, err
	}
	q := service.AssignmentListQuery{
		MeetingID:    values.Get("meeting_id"),
		ControllerID: values.Get("controller_id"),
		Region:       values.Get("region"),
		PageToken:    values.Get("page_token"),
	}
	q.PageSize, err = pageSize(values)
	return q, err
}

func decodeMeetingAssignments(r *http.Request) (service.AssignmentListQuery, error) {
	values, err := fromQuery(r, "page_size", "page_token")
	if err != nil {
		return service.AssignmentListQuery{}, err
	}
	q := service.AssignmentListQuery{MeetingID: r.PathValue("meeting_id"), PageToken: values.Get("page_token")}
	q.PageSize, err = pageSize(values)
	return q, err
}

func encodeAssignments(p service.AssignmentPage) any {
	body := assignmentsBody{NextPageToken: p.NextPageToken, Assignments: make([]assignmentBody, 0, len(p.Assignments))}
	for _, a := range p.Assignments {
		body.Assignments = append(body.Assignments, assignmentToBody(a))
	}
	return body
}

func decodeAssignmentEnd(r *http.Request) (service.AssignmentEnd, error) {
	end := service.AssignmentEnd{AssignmentKey: assignmentKeyFromPath(r)}
	values, err := fromQuery(r, "reason", "expected_generation")
	if err != nil {
		return end, err
	}
	end.Reason = values.Get("reason")
	end.ExpectedGeneration, err = generationParameter(values)
	return end, err
}

func encodeEndedAssignment(a service.Assignment) any { return assignmentToBody(a) }
