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
		Max:                c.ServingLimit,
		Current:            c.RunningLoad,
		Largest:            c.LargestServing,
		Free:               c.Headroom(),
		FreeWithoutLargest: c.HeadroomWithoutLargest(),
	}
}
