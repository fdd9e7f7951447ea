// Package simulate plays a fleet of meeting controllers, which speak through the real SDK, against a Global Controller,
// has things go wrong, and says which promises were kept.
package fleetsim

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Needs is what a scenario takes hold of beside the fleet.
type Needs struct {
	// Own: a Global Controller, store and auth controller of its own, because it harms them.
	Own bool
	// Network: a proxy between the fleet and the Global Controller.
	Network bool
	// Tokens: each controller gets tokens, and has a clock, of its own; otherwise those on one connection share them.
	Tokens bool
}

// Scenario is something that goes wrong, and what is promised for it.
type Scenario struct {
	Name, Summary string
	Needs         Needs
	// Run plays it. It records promises in the world; an error means that it could not be played.
	Run func(ctx context.Context, w *World) error
}

// Scenarios lists them all, from the plain to the rare.
func Scenarios() []Scenario {
	return []Scenario{
		steady(), rollingRestart(), crash10Percent(), regionBlackout(), gcRestart(), dbOutage(), networkPause(), herd(),
		zombie(), duplicateID(), clockJump(), slowDB(), tokenRotation(), acOutage(),
	}
}

// Find returns the scenarios of the names, each once; "all" names every one that can be played where own says whether
// there is a Global Controller of our own.
func Find(names []string, own bool) (found []Scenario, err error) {
	for _, name := range names {
		all := Scenarios()
		if name == "all" {
			for _, s := range all {
				if own || !s.Needs.Own {
					found = append(found, s)
				}
			}
			continue
		}
		i := slices.IndexFunc(all, func(s Scenario) bool { return s.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no scenario %q: there are all, %s", name, strings.Join(namesOf(all), ", "))
		}
		if all[i].Needs.Own && !own {
			return nil, fmt.Errorf("%s harms the Global Controller, its store or its auth controller, so it needs its own: leave out --address", name)
		}
		found = append(found, all[i])
	}
	seen := make(map[string]bool)
	return slices.DeleteFunc(found, func(s Scenario) bool {
		before := seen[s.Name]
		seen[s.Name] = true
		return before
	}), nil
}

func namesOf(scenarios []Scenario) (names []string) {
	for _, s := range scenarios {
		names = append(names, s.Name)
	}
	return names
}
