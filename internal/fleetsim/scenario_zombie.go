package fleetsim

import (
	"context"
)

func zombie() Scenario {
	return Scenario{
		Name:    "zombie",
		Summary: "some controllers freeze, new processes take their ids, and the frozen ones continue",
		Run: func(ctx context.Context, env *Environment) error {
			if _, err := env.StartFleet(ctx); err != nil {
				return err
			}

			frozen := env.Fleet.PickRandom(0.05, env.Random)
			freezableProxy, err := NewProxy(env.globalControllerAddress())
			if err != nil {
				return err
			}
			env.addCleanup(freezableProxy.Close)
			if err := env.moveToProxy(ctx, frozen, freezableProxy); err != nil {
				return err
			}

			env.SetPhase("%d controllers freeze", len(frozen))
			freezableProxy.Freeze()
			second, err := env.StartSecondProcesses(ctx, frozen)
			if err != nil {
				return err
			}

			before := env.History.LastID()
			env.SetPhase("the frozen controllers continue")
			freezableProxy.Resume()
			if err := env.CheckSuperseded(ctx, frozen, second, before); err != nil {
				return err
			}
			return env.CheckFleet(ctx)
		},
	}
}

// moveToProxy restarts controllers on a connection through a proxy.
func (e *Environment) moveToProxy(ctx context.Context, mcs []*meetingController, proxy *Proxy) error {
	e.SetPhase("%d controllers move to a connection of their own", len(mcs))
	connection, err := e.Fleet.Connect(proxy.Address())
	if err != nil {
		return err
	}

	for _, mc := range mcs {
		if err := mc.Stop(); err != nil {
			return err
		}
		mc.connection = connection
		if err := mc.Start(); err != nil {
			return err
		}
	}
	return e.awaitRegistered(ctx)
}
