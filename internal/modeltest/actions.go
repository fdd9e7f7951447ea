package modeltest

import "darktower.example/global-controller/service"

// action is something that happens to the fleet or the Global Controllers. Its share among the actions is its weight.
type action struct {
	weight int
	do     func(env *Environment) error
}

// actions happen all the time.
var actions = []action{
	{12, (*Environment).replaceProcess},
	{9, (*Environment).crashProcess},
	{3, (*Environment).crashWhileDraining},
	{4, (*Environment).scheduleFinalHeartbeat},
	{7, (*Environment).pauseProcess},
	{7, (*Environment).registerAgain},
	{7, (*Environment).sendExtraHeartbeat},
	{3, (*Environment).sendDuplicate},
	{9, (*Environment).sendBurst},
	{6, (*Environment).orderDrain},
	{9, (*Environment).orderUndrain},
	{2, (*Environment).orderDeregistration},
	{2, (*Environment).deregisterItself},
	{3, (*Environment).injectFault},
}

// faultActions happen now and then, and often during a fault burst.
var faultActions = []action{
	{4, (*Environment).stopAnyReplica},
	{2, (*Environment).stopAllReplicas},
	{4, (*Environment).startStoreOutage},
	{4, (*Environment).disconnectReplica},
	{2, (*Environment).stallCheckers},
	{3, (*Environment).startReadOnly},
	{4, (*Environment).lockRows},
	{2, (*Environment).stepDatabaseClock},
}

// toggleFaultBurst starts or ends a fault burst. The calm periods between the bursts are long, so that controllers can become stale.
func (env *Environment) toggleFaultBurst() error {
	if env.isFaultBurst = !env.isFaultBurst; env.isFaultBurst {
		env.nextBurstToggle = env.now + 1 + env.rng.Int64N(2*env.threshold)
	} else {
		env.nextBurstToggle = env.now + 1 + env.rng.Int64N(12*env.threshold)
	}
	return nil
}

// injectFault runs a fault action; outside of a fault burst only one time in four.
func (env *Environment) injectFault() error {
	if !env.isFaultBurst && env.rng.IntN(4) > 0 {
		return nil
	}
	return env.runOneOf(faultActions)
}

func (env *Environment) act() error {
	env.nextAction = env.now + 1 + env.rng.Int64N(2500)
	if env.isFaultBurst && env.rng.IntN(5) == 0 {
		return env.injectFault()
	}
	return env.runOneOf(actions)
}

// runOneOf runs one of the actions, drawn by their weights.
func (env *Environment) runOneOf(choices []action) error {
	total := 0
	for _, a := range choices {
		total += a.weight
	}

	n := env.rng.IntN(total)
	for _, a := range choices {
		if n -= a.weight; n < 0 {
			return a.do(env)
		}
	}
	return nil
}

// pickProcess draws a process of any controller, running or not; nil if there is none yet.
func (env *Environment) pickProcess() *process {
	if len(env.processes) == 0 {
		return nil
	}
	return pick(env, env.processes)
}

// replaceProcess starts a new process of a controller. The former processes have ended, or still run.
func (env *Environment) replaceProcess() error {
	c := pick(env, env.fleet)
	if env.rng.IntN(3) > 0 {
		env.endProcesses(c)
	}

	p := env.startProcess(c)
	checkErr, callErr := env.register(p)
	if callErr == nil || env.rng.IntN(2) == 0 {
		env.schedule(p)
	}
	return checkErr
}

func (env *Environment) crashProcess() error {
	if p := env.pickProcess(); p != nil {
		p.nextAt = 0
		env.note("process %d of %s crashes", p.serial, p.controller.id)
	}
	return nil
}

// usualSweeps is the time between sweeps without faults, in milliseconds.
const usualSweeps = 4750

// scheduleFinalHeartbeat makes a process end with a heartbeat whose age at a sweep equals the threshold, to the millisecond.
func (env *Environment) scheduleFinalHeartbeat() error {
	p, r := env.pickProcess(), pick(env, env.replicas)
	if p == nil || p.nextAt == 0 || r.nextSweep == 0 {
		return nil
	}

	p.isEnding = true
	p.nextAt = r.nextSweep - env.threshold
	for p.nextAt <= env.now {
		p.nextAt += usualSweeps
	}
	env.note("process %d of %s sends its final heartbeat next", p.serial, p.controller.id)
	return nil
}

// pauseProcess delays the next heartbeat of a process by up to two thresholds.
func (env *Environment) pauseProcess() error {
	if p := env.pickProcess(); p != nil && p.nextAt != 0 {
		p.nextAt += env.rng.Int64N(2 * env.threshold)
		env.note("process %d of %s pauses", p.serial, p.controller.id)
	}
	return nil
}

// registerAgain makes a process register again: the current one, or one that was replaced.
func (env *Environment) registerAgain() error {
	p := env.pickProcess()
	if p == nil {
		return nil
	}
	checkErr, callErr := env.register(p)
	if callErr == nil && p.nextAt == 0 {
		env.schedule(p)
	}
	return checkErr
}

// sendExtraHeartbeat sends a heartbeat out of turn: delayed by the network, or of a process that was replaced.
func (env *Environment) sendExtraHeartbeat() error {
	p := env.pickProcess()
	if p == nil {
		p = &process{controller: pick(env, env.fleet)}
	}
	checkErr, _ := env.sendHeartbeat(p)
	return checkErr
}

// sendDuplicate sends one heartbeat twice, to one replica or to two.
func (env *Environment) sendDuplicate() error {
	p := env.pickProcess()
	if p == nil {
		return nil
	}
	h, isComprehensive := env.nextHeartbeat(p)
	for range 2 {
		r := env.pickReplica()
		if r == nil {
			return nil
		}
		if checkErr, _ := env.sendHeartbeatTo(r, p, h, isComprehensive); checkErr != nil {
			return checkErr
		}
	}
	return nil
}

// deregisterItself makes a process deregister its controller, whether or not it is the registered process.
func (env *Environment) deregisterItself() error {
	p, r := env.pickProcess(), env.pickReplica()
	if p == nil || r == nil {
		return nil
	}

	c := p.controller
	order := service.Deregistration{ControllerID: c.id, Incarnation: p.incarnation}
	want, wantErr := c.afterDeregistration(order, true)

	_, err := r.calls.Deregister.Call(env.authorize(r, asController), order, nil)
	env.note("%s deregisters itself (process %d) at %s: %s", c.id, p.serial, r.id, resultText(err))
	if err == nil {
		p.nextAt = 0
	}

	return env.checkCall(attempt{
		controller: c,
		replica:    r,
		want:       want,
		wantErr:    wantErr,
		cause:      service.CauseRetired,
		actor:      "client",
	}, err)
}
