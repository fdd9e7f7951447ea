package placement

import (
	"cmp"
	"slices"
)

const (
	// sampleSize is how many random candidates are compared. Two leave the fullest controller at 1.2 times the mean after a burst,
	// and five at 1.1; more gain nothing.
	sampleSize = 5
	// smallFleet is up to how many candidates all of them are compared.
	smallFleet = 64
)

// Rand is the randomness of a choice, for example math/rand/v2. IntN returns a number from 0 to n-1.
type Rand interface{ IntN(n int) int }

// Scored is a candidate that was compared, with its load before the placement.
type Scored struct {
	ID   string
	Load float64
}

// Decision is the outcome of a choice and its explanation.
type Decision struct {
	// ControllerID is the chosen controller; empty if none is eligible.
	ControllerID string
	// Region is the region of the chosen controller, or the requested one.
	Region string
	// Compared are the candidates that were compared, the chosen one first.
	Compared []Scored
	// Eligible is how many controllers of Region were eligible.
	Eligible int
	// Regions has the examined regions, the requested one first.
	Regions []RegionCount
}

// RegionCount counts the controllers of a region by why they were not eligible.
type RegionCount struct {
	Region     string
	Registered int
	// Ineligible counts each controller under its first reason.
	Ineligible map[Reason]int
}

// Choose returns the controller for a meeting: the least loaded of five random eligible ones, or of all of up to 64, ties at random.
// Degraded controllers are eligible only if no healthy one is; preferred labels decide within the same state.
func Choose(r Request, candidates []Candidate, random Rand) Decision {
	decision := Decision{Region: r.Region}
	for _, region := range append([]string{r.Region}, r.SpillRegions...) {
		eligible, count := filter(r, region, candidates)
		decision.Regions = append(decision.Regions, count)
		if len(eligible) == 0 {
			continue
		}

		compared := compare(sample(eligible, random), random)
		decision.ControllerID = compared[0].ID
		decision.Region = region
		decision.Compared = compared
		decision.Eligible = len(eligible)
		return decision
	}
	return decision
}

// filter returns the best eligible group of a region, and counts the others.
func filter(r Request, region string, candidates []Candidate) ([]Candidate, RegionCount) {
	count := RegionCount{Region: region, Ineligible: make(map[Reason]int)}
	var healthy, degraded []Candidate
	for _, c := range candidates {
		if c.Region != region {
			continue
		}
		count.Registered++
		reasons := Ineligible(c, r)
		switch {
		case len(reasons) > 0:
			count.Ineligible[reasons[0]]++
		case c.State == StateDegraded:
			degraded = append(degraded, c)
		default:
			healthy = append(healthy, c)
		}
	}

	if len(healthy) == 0 {
		return preferred(r, degraded), count
	}
	if len(degraded) > 0 {
		count.Ineligible[ReasonDegraded] = len(degraded)
	}
	return preferred(r, healthy), count
}

// preferred returns the candidates with all preferred labels, or all candidates if none has them.
func preferred(r Request, candidates []Candidate) []Candidate {
	if len(r.PreferLabels) == 0 {
		return candidates
	}

	var found []Candidate
	for _, c := range candidates {
		if hasLabels(c, r.PreferLabels) {
			found = append(found, c)
		}
	}
	if len(found) == 0 {
		return candidates
	}
	return found
}

// sample returns the candidates to compare. It does not change candidates.
func sample(candidates []Candidate, random Rand) []Candidate {
	if len(candidates) <= smallFleet {
		return candidates
	}

	picked := make([]Candidate, 0, sampleSize)
	seen := make(map[int]bool, sampleSize)
	for len(picked) < sampleSize {
		if i := random.IntN(len(candidates)); !seen[i] {
			seen[i] = true
			picked = append(picked, candidates[i])
		}
	}
	return picked
}

// compare returns the least loaded candidates, at most sampleSize, ties in random order.
func compare(candidates []Candidate, random Rand) []Scored {
	scored := make([]Scored, len(candidates))
	for i, c := range candidates {
		scored[i] = Scored{ID: c.ID, Load: c.Load()}
	}

	for i := len(scored) - 1; i > 0; i-- {
		j := random.IntN(i + 1)
		scored[i], scored[j] = scored[j], scored[i]
	}
	slices.SortStableFunc(scored, func(a, b Scored) int { return cmp.Compare(a.Load, b.Load) })
	return scored[:min(len(scored), sampleSize)]
}
