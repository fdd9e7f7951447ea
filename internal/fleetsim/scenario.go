// Package fleetsim runs a simulated fleet of meeting controllers against a Global Controller. The fleet uses the real
// client SDK. A scenario injects a fault and checks which guarantees hold.
package fleetsim

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Needs lists what a scenario requires in addition to the fleet.
type Needs struct {
	// OwnGC is for scenarios that disturb the Global Controller, its store or its auth controller. Each gets its own.
	OwnGC bool
	// NetworkProxy puts a proxy between the fleet and the Global Controller.
	NetworkProxy bool
	// OwnTokens gives each controller its own tokens and clock. By default the controllers on one connection share them.
	OwnTokens bool
}

// Scenario is a fault and the checks that must pass despite it.
type Scenario struct {
	Name    string
	Summary string
	Needs   Needs
	// Run runs the scenario and records its checks in the environment. An error means that the scenario could not be completed.
	Run func(ctx context.Context, env *Environment) error
}

// Scenarios returns all scenarios, the most common faults first.
func Scenarios() []Scenario {
	return []Scenario{
		steady(),
		rollingRestart(),
		crash10Percent(),
		regionBlackout(),
		gcRestart(),
		dbOutage(),
		networkPause(),
		herd(),
		zombie(),
		duplicateID(),
		clockJump(),
		slowDB(),
		tokenRotation(),
		acOutage(),
	}
}

// FindScenarios returns the scenarios with the names, each once. The name "all" stands for every scenario that can run.
// If hasOwnGC is false, the Global Controller is not the simulator's, and scenarios that disturb it are refused.
func FindScenarios(names []string, hasOwnGC bool) (found []Scenario, err error) {
	all := Scenarios()
	for _, name := range names {
		if name == "all" {
			for _, s := range all {
				if hasOwnGC || !s.Needs.OwnGC {
					found = append(found, s)
				}
			}
			continue
		}

		i := slices.IndexFunc(all, func(s Scenario) bool { return s.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("unknown scenario %q: allowed are all, %s", name, strings.Join(scenarioNames(all), ", "))
		}
		if all[i].Needs.OwnGC && !hasOwnGC {
			return nil, fmt.Errorf("%s disturbs the Global Controller, its store or its auth controller: leave out --address", name)
		}
		found = append(found, all[i])
	}
	return removeDuplicates(found), nil
}

// removeDuplicates keeps the first of several scenarios with the same name.
func removeDuplicates(scenarios []Scenario) []Scenario {
	isKnown := make(map[string]bool)
	return slices.DeleteFunc(scenarios, func(s Scenario) bool {
		isDuplicate := isKnown[s.Name]
		isKnown[s.Name] = true
		return isDuplicate
	})
}

func scenarioNames(scenarios []Scenario) (names []string) {
	for _, s := range scenarios {
		names = append(names, s.Name)
	}
	return names
}
