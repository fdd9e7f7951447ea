package httptransport

import (
	"net/http"

	"darktower.example/global-controller/endpoints"
)

const (
	meetingAssignmentsPath = "/api/v1/meetings/{meeting_id}/assignments"
	assignmentPath         = meetingAssignmentsPath + "/{region}"
)

// placementRoutes returns the routes for meeting services.
func placementRoutes(e endpoints.Endpoints) []route {
	return []route{
		{
			method:    http.MethodPut,
			pattern:   assignmentPath,
			operation: "AssignMeeting",
			summary:   "Get the controller of a meeting in a region, and choose one if there is none",
			handler:   handle(e.AssignMeeting, decodeAssign, encodeAssignment),
			request:   optionalBody{assignRequestBody{}},
			response:  assignResponseBody{},
		},

		{
			method:    http.MethodGet,
			pattern:   assignmentPath,
			operation: "GetAssignment",
			summary:   "Get the controller of a meeting in a region",
			handler:   handle(e.GetAssignment, decodeAssignmentQuery, encodeAssignment),
			response:  assignResponseBody{},
		},

		{
			method:    http.MethodGet,
			pattern:   meetingAssignmentsPath,
			operation: "ListAssignments",
			summary:   "List the assignments of a meeting in all regions",
			handler:   handle(e.ListAssignments, decodeMeetingAssignments, encodeAssignments),
			query:     []string{"page_size", "page_token"},
			response:  assignmentsBody{},
		},

		{
			method:    http.MethodGet,
			pattern:   "/api/v1/assignments",
			operation: "ListAssignments",
			summary:   "List a page of assignments",
			handler:   handle(e.ListAssignments, decodeAssignmentListQuery, encodeAssignments),
			query:     []string{"meeting_id", "controller_id", "region", "page_size", "page_token"},
			response:  assignmentsBody{},
		},

		{
			method:    http.MethodDelete,
			pattern:   assignmentPath,
			operation: "EndAssignment",
			summary:   "End an assignment; those of the meeting in other regions stay",
			handler:   handle(e.EndAssignment, decodeAssignmentEnd, encodeEndedAssignment),
			query:     []string{"reason", "expected_generation"},
			response:  assignmentBody{},
		},
	}
}
