package placement

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func healthy(id string) Candidate {
	return Candidate{ID: id, Region: "eu", State: StateHealthy, Limit: Size{Meetings: 100, Participants: 5000}}
}

// fleet groups candidates by region.
func fleet(candidates ...Candidate) Fleet {
	byRegion := make(Fleet)
	for _, c := range candidates {
		byRegion[c.Region] = append(byRegion[c.Region], c)
	}
	return byRegion
}

func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

func TestIneligible(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		change  func(c *Candidate)
		request Request
		want    []Reason
	}{
		{name: "healthy", change: func(*Candidate) {}},
		{name: "degraded", change: func(c *Candidate) { c.State = StateDegraded }},
		{name: "pending", change: func(c *Candidate) { c.State = StatePending }, want: []Reason{ReasonPending}},
		{name: "draining", change: func(c *Candidate) { c.State = StateDraining }, want: []Reason{ReasonDraining}},
		{name: "unhealthy", change: func(c *Candidate) { c.State = StateUnhealthy }, want: []Reason{ReasonUnhealthy}},
		{name: "unknown state", change: func(c *Candidate) { c.State = "lost" }, want: []Reason{ReasonUnhealthy}},
		{name: "full of meetings", change: func(c *Candidate) { c.Assigned.Meetings = 100 }, want: []Reason{ReasonFull}},
		{name: "room for one", change: func(c *Candidate) { c.Assigned.Meetings = 99 }},
		{
			name:    "full of participants",
			change:  func(c *Candidate) { c.Reported.Participants = 4990 },
			request: Request{ExpectedParticipants: 11},
			want:    []Reason{ReasonFull},
		},
		{name: "no limit", change: func(c *Candidate) { c.Limit = Size{} }, want: []Reason{ReasonFull}},
		{
			name: "several reasons",
			change: func(c *Candidate) {
				c.State, c.CoolDown, c.EndpointError = StateDraining, "AT_CAPACITY", "10.0.0.1 is not in GC_MC_HOSTS"
			},
			request: Request{RequireLabels: map[string]string{"gpu": "yes"}, ExcludeControllers: []string{"mc"}},
			want:    []Reason{ReasonDraining, ReasonCoolDown, ReasonLabels, ReasonExcluded, ReasonEndpoint},
		},
		{
			name:    "required label",
			change:  func(c *Candidate) { c.Labels = map[string]string{"gpu": "yes", "zone": "a"} },
			request: Request{RequireLabels: map[string]string{"gpu": "yes"}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := healthy("mc")
			tc.change(&c)
			if got := Ineligible(c, tc.request); !slices.Equal(got, tc.want) {
				t.Errorf("Ineligible() = %q, want %q", got, tc.want)
			}
		})
	}
}

func TestCandidate_Load(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		c    Candidate
		want float64
	}{
		{"idle", healthy("mc"), 0},
		{"reported", Candidate{Limit: Size{100, 1000}, Reported: Size{20, 100}}, 0.2},
		{"participants weigh more", Candidate{Limit: Size{100, 1000}, Reported: Size{20, 700}}, 0.7},
		{
			"assigned since the report",
			Candidate{Limit: Size{100, 1000}, Reported: Size{20, 0}, SinceReport: Size{5, 0}, Assigned: Size{5, 0}},
			0.25,
		},
		{"reports nothing", Candidate{Limit: Size{100, 1000}, SinceReport: Size{1, 0}, Assigned: Size{60, 0}}, 0.6},
		{"above its limit", Candidate{Limit: Size{10, 1000}, Assigned: Size{12, 0}}, 1.2},
		{"no limit", Candidate{}, 1},
	} {
		if got := (&tc.c).Load(); got < tc.want-1e-9 || got > tc.want+1e-9 {
			t.Errorf("%s: Load() = %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestChoose_LeastLoaded(t *testing.T) {
	t.Parallel()
	a, b, c := healthy("a"), healthy("b"), healthy("c")
	a.Assigned.Meetings, b.Assigned.Meetings, c.Assigned.Meetings = 30, 20, 40
	d := Choose(Request{Region: "eu"}, fleet(a, b, c), seeded(1))
	if d.ControllerID != "b" || d.Reason() != "least loaded of 3 eligible in eu: 20 %, next 30 %" {
		t.Errorf("Choose() = %q %q, want b, the least loaded", d.ControllerID, d.Reason())
	}
}

func TestChoose_TiesAtRandom(t *testing.T) {
	t.Parallel()
	counts := make(map[string]int)
	random := seeded(2)
	for range 3000 {
		counts[Choose(Request{Region: "eu"}, fleet(healthy("a"), healthy("b"), healthy("c")), random).ControllerID]++
	}
	for id, n := range counts {
		if n < 850 || n > 1150 {
			t.Errorf("%s was chosen %d times of 3000, want about 1000", id, n)
		}
	}
}

func TestChoose_DegradedOnlyWithoutHealthy(t *testing.T) {
	t.Parallel()
	full, degraded := healthy("full"), healthy("degraded")
	full.Assigned.Meetings = 99
	degraded.State = StateDegraded
	candidates := fleet(full, degraded)
	d := Choose(Request{Region: "eu"}, candidates, seeded(3))
	if d.ControllerID != "full" || d.Regions[0].Ineligible[ReasonDegraded] != 1 {
		t.Errorf("Choose() = %q %v, want the healthy one while it has room", d.ControllerID, d.Regions)
	}

	candidates["eu"][0].Assigned.Meetings = 100
	if d := Choose(Request{Region: "eu"}, candidates, seeded(3)); d.ControllerID != "degraded" {
		t.Errorf("Choose() = %q, want the degraded one once the healthy one is full", d.ControllerID)
	}
}

func TestChoose_PreferredLabels(t *testing.T) {
	t.Parallel()
	plain, preferred := healthy("plain"), healthy("preferred")
	preferred.Labels = map[string]string{"zone": "b"}
	preferred.Assigned.Meetings = 50
	r := Request{Region: "eu", PreferLabels: map[string]string{"zone": "b"}}
	if d := Choose(r, fleet(plain, preferred), seeded(4)); d.ControllerID != "preferred" {
		t.Errorf("Choose() = %q, want the preferred one", d.ControllerID)
	}

	preferred.State = StateDraining
	if d := Choose(r, fleet(plain, preferred), seeded(4)); d.ControllerID != "plain" {
		t.Errorf("Choose() = %q, want another if the preferred one is not eligible", d.ControllerID)
	}
}

func TestChoose_LargeRegion(t *testing.T) {
	t.Parallel()
	candidates := make([]Candidate, 1000)
	for i := range candidates {
		candidates[i] = healthy(fmt.Sprintf("mc-%d", i))
		candidates[i].Assigned.Meetings = int64(i % 50)
	}
	d := Choose(Request{Region: "eu"}, Fleet{"eu": candidates}, seeded(7))
	if len(d.Compared) != 5 || d.ControllerID != d.Compared[0].ID || d.Compared[0].Load > d.Compared[4].Load {
		t.Errorf("Choose() = %+v, want the least loaded of five", d)
	}

	for i := range candidates {
		candidates[i].State = StateDraining
	}
	candidates[777].State = StateDegraded
	if d := Choose(Request{Region: "eu"}, Fleet{"eu": candidates}, seeded(7)); d.ControllerID != "mc-777" || d.Eligible != 1 {
		t.Errorf("Choose() = %+v, want the only eligible one", d)
	}
}

func TestChoose_Spill(t *testing.T) {
	t.Parallel()
	full, other := healthy("full"), healthy("other")
	full.Assigned.Meetings = 100
	other.Region = "us"
	d := Choose(Request{Region: "eu", SpillRegions: []string{"ap", "us"}}, fleet(full, other), seeded(5))
	if d.ControllerID != "other" || d.Region != "us" || len(d.Regions) != 3 {
		t.Errorf("Choose() = %+v, want the one of the second spill region", d)
	}
}

func TestDecision_Refusal(t *testing.T) {
	t.Parallel()
	var candidates []Candidate
	for i := range 22 {
		c := healthy(fmt.Sprintf("mc-%d", i))
		switch {
		case i < 3:
			c.State = StateDraining
		case i < 5:
			c.State = StateUnhealthy
		default:
			c.Assigned.Meetings = 100
		}
		candidates = append(candidates, c)
	}
	const want = "no eligible controller in eu: 22 registered, 3 draining, 2 unhealthy, 17 full"
	if got := Choose(Request{Region: "eu"}, fleet(candidates...), seeded(6)).Reason(); got != want {
		t.Errorf("Reason() = %q, want %q", got, want)
	}
}

// TestChoose_Burst starts 200 meetings at once on 22 controllers with an uneven load of 20 to 40 %, whose reports do not change
// meanwhile.
func TestChoose_Burst(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name        string
		reserve     bool
		atMost, min float64
	}{
		{name: "with reservations", reserve: true, atMost: 1.2},
		{name: "without reservations", reserve: false, atMost: 10, min: 1.5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var ratios []float64
			for seed := range uint64(100) {
				ratios = append(ratios, burst(seeded(seed), tc.reserve))
			}
			slices.Sort(ratios)
			if median := ratios[50]; median > tc.atMost || median < tc.min {
				t.Errorf("largest load = %.2f of the mean, want %.1f to %.1f", median, tc.min, tc.atMost)
			}
		})
	}
}

func burst(random *rand.Rand, reserve bool) float64 {
	candidates := make([]Candidate, 22)
	assigned := make(map[string]int64)
	for i := range candidates {
		candidates[i] = healthy(fmt.Sprintf("mc-%d", i))
		candidates[i].Reported.Meetings = 20 + int64(random.IntN(21))
	}
	for range 200 {
		id := Choose(Request{Region: "eu"}, Fleet{"eu": candidates}, random).ControllerID
		assigned[id]++
		for i := range candidates {
			if reserve && candidates[i].ID == id {
				candidates[i].SinceReport.Meetings++
				candidates[i].Assigned.Meetings++
			}
		}
	}

	var largest, sum int64
	for _, c := range candidates {
		load := c.Reported.Meetings + assigned[c.ID]
		largest = max(largest, load)
		sum += load
	}
	return float64(largest) / (float64(sum) / float64(len(candidates)))
}
