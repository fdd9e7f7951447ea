package httptransport

import (
	"net/http"
	"time"

	"darktower.example/global-controller/service"
)

type regionCapacityBody struct {
	Max                int64 `json:"max"`
	Current            int64 `json:"current"`
	Largest            int64 `json:"largest"`
	Free               int64 `json:"free"`
	FreeWithoutLargest int64 `json:"free_without_largest"`
}

type regionBody struct {
	Region              string             `json:"region"`
	Pending             int64              `json:"pending"`
	Healthy             int64              `json:"healthy"`
	Degraded            int64              `json:"degraded"`
	Unhealthy           int64              `json:"unhealthy"`
	Draining            int64              `json:"draining"`
	Meetings            regionCapacityBody `json:"meetings"`
	Participants        regionCapacityBody `json:"participants"`
	SurvivesLargestLoss bool               `json:"survives_largest_loss"`
}

type regionsBody struct {
	AsOf    *time.Time   `json:"as_of,omitempty"`
	Regions []regionBody `json:"regions"`
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

func decodeRegionQuery(r *http.Request) (service.RegionQuery, error) {
	_, err := fromQuery(r)
	return service.RegionQuery{}, err
}

func encodeRegions(r service.Regions) any {
	body := regionsBody{Regions: make([]regionBody, 0, len(r.Regions))}
	for _, region := range r.Regions {
		body.Regions = append(body.Regions, regionToBody(region))
	}
	if !r.AsOf.IsZero() {
		asOf := r.AsOf.UTC()
		body.AsOf = &asOf
	}
	return body
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

func regionToBody(r service.Region) regionBody {
	return regionBody{
		Region:              r.Region,
		Pending:             r.Controllers[service.HealthPending],
		Healthy:             r.Controllers[service.HealthHealthy],
		Degraded:            r.Controllers[service.HealthDegraded],
		Unhealthy:           r.Controllers[service.HealthUnhealthy],
		Draining:            r.Controllers[service.HealthDraining],
		Meetings:            capacityToBody(r.Meetings),
		Participants:        capacityToBody(r.Participants),
		SurvivesLargestLoss: r.SurvivesLargestLoss(),
	}
}

func capacityToBody(c service.RegionCapacity) regionCapacityBody {
	return regionCapacityBody{
		Max:                c.Max,
		Current:            c.Current,
		Largest:            c.Largest,
		Free:               c.Free(),
		FreeWithoutLargest: c.FreeWithoutLargest(),
	}
}
