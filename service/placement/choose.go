package placement

import (
	"cmp"
	"slices"
)

const (
	// sampleSize is how many random candidates are compared. After a burst, two leave the fullest controller at 1.2 times the mean, and
	// five at 1.1; more gain nothing.
	sampleSize = 5
	// smallFleet is up to how many controllers of a region all of them are examined.
	smallFleet = 64
	// maxExamined is how many random controllers of a large region are examined before all of them are.
	maxExamined = 8 * sampleSize
)

// Rand is the randomness of a choice, for example math/rand/v2. IntN returns a number from 0 to n-1.
type Rand interface{ IntN(n int) int }

// Fleet has the controllers by region. [Choose] does not change it.
type Fleet map[string][]Candidate

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
	// Compared are the candidates that were compared, at most five, the chosen one first.
	Compared []Scored
	// Eligible is how many controllers of Region were eligible; 0 if only a sample of a large region was examined.
	Eligible int
	// Regions has the examined regions, the requested one first.
	Regions []RegionCount
}

// RegionCount counts the controllers of a region by why they were not eligible.
type RegionCount struct {
	Region     string
	Registered int
	// Ineligible counts each examined controller under its first reason.
	Ineligible map[Reason]int
}

// Choose returns the controller for a meeting: the least loaded of five random eligible ones, or of all in a region of up to 64, ties at
// random. Degraded controllers are eligible only if no healthy one is; preferred labels decide within the same state.
func Choose(r Request, fleet Fleet, random Rand) Decision {
	decision := Decision{Region: r.Region}
	for _, region := range append([]string{r.Region}, r.SpillRegions...) {
		candidates := fleet[region]
		if len(candidates) > smallFleet {
			if picked := pickAtRandom(r, candidates, random); len(picked) == sampleSize {
				decision.Regions = append(decision.Regions, RegionCount{Region: region, Registered: len(candidates)})
				decision.choose(region, compare(candidates, picked, random))
				return decision
			}
		}

		eligible, count := examine(r, region, candidates)
		decision.Regions = append(decision.Regions, count)
		if len(eligible) > 0 {
			decision.Eligible = len(eligible)
			decision.choose(region, compare(candidates, sample(eligible, random), random))
			return decision
		}
	}
	return decision
}

func (d *Decision) choose(region string, compared []Scored) {
	d.ControllerID = compared[0].ID
	d.Region = region
	d.Compared = compared
}

// pickAtRandom returns the indexes of random healthy, preferred and eligible candidates: sampleSize of them, or fewer if they are rare.
func pickAtRandom(r Request, candidates []Candidate, random Rand) []int {
	picked := make([]int, 0, sampleSize)
	for range maxExamined {
		i := random.IntN(len(candidates))
		c := &candidates[i]
		if slices.Contains(picked, i) || c.State != StateHealthy || !hasLabels(c, r.PreferLabels) || !isEligible(c, &r) {
			continue
		}
		if picked = append(picked, i); len(picked) == sampleSize {
			break
		}
	}
	return picked
}

// examine returns the indexes of the best eligible group of a region, and counts the others.
func examine(r Request, region string, candidates []Candidate) ([]int, RegionCount) {
	count := RegionCount{Region: region, Registered: len(candidates), Ineligible: make(map[Reason]int)}
	var healthy, degraded []int
	for i := range candidates {
		c := &candidates[i]
		reason, isEligible := firstReason(c, &r)
		switch {
		case !isEligible:
			count.Ineligible[reason]++
		case c.State == StateDegraded:
			degraded = append(degraded, i)
		default:
			healthy = append(healthy, i)
		}
	}

	if len(healthy) == 0 {
		return preferred(r, candidates, degraded), count
	}
	if len(degraded) > 0 {
		count.Ineligible[ReasonDegraded] = len(degraded)
	}
	return preferred(r, candidates, healthy), count
}

// preferred returns the candidates with all preferred labels, or all of eligible if none has them.
func preferred(r Request, candidates []Candidate, eligible []int) []int {
	if len(r.PreferLabels) == 0 {
		return eligible
	}

	var found []int
	for _, i := range eligible {
		if hasLabels(&candidates[i], r.PreferLabels) {
			found = append(found, i)
		}
	}
	if len(found) == 0 {
		return eligible
	}
	return found
}

// sample returns sampleSize random elements, or all of up to smallFleet. It may reorder eligible.
func sample(eligible []int, random Rand) []int {
	if len(eligible) <= smallFleet {
		return eligible
	}
	for i := range sampleSize {
		j := i + random.IntN(len(eligible)-i)
		eligible[i], eligible[j] = eligible[j], eligible[i]
	}
	return eligible[:sampleSize]
}

// compare returns the least loaded of the picked candidates, at most sampleSize, ties in random order.
func compare(candidates []Candidate, picked []int, random Rand) []Scored {
	scored := make([]Scored, len(picked))
	for i, index := range picked {
		scored[i] = Scored{ID: candidates[index].ID, Load: candidates[index].Load()}
	}

	for i := len(scored) - 1; i > 0; i-- {
		j := random.IntN(i + 1)
		scored[i], scored[j] = scored[j], scored[i]
	}
	slices.SortStableFunc(scored, func(a, b Scored) int { return cmp.Compare(a.Load, b.Load) })
	return scored[:min(len(scored), sampleSize)]
}
