package modeltest

import "slices"

// outage is a fault that lasts until a time.
type outage struct {
	isActive bool
	until    int64 // 0 if it is not active
}

// startOutage starts an outage, unless it is active already. what describes it in the trace.
func (env *Environment) startOutage(o *outage, what string) error {
	if o.isActive {
		return nil
	}
	*o = outage{isActive: true, until: env.now + env.outageDuration()}
	env.guarantees.disturbedAt = env.now
	env.note("%s for %d ms", what, o.until-env.now)
	return nil
}

func (env *Environment) endOutage(o *outage, what string) error {
	*o = outage{}
	env.guarantees.disturbedAt = env.now
	env.note("%s", what)
	return nil
}

// outageDuration draws the duration of an outage: often about as long as the tolerance, sometimes longer than a threshold.
func (env *Environment) outageDuration() int64 {
	if env.rng.IntN(2) == 0 {
		return 1 + env.rng.Int64N(2*toleranceMs)
	}
	return 1 + env.rng.Int64N(2*env.threshold)
}

func (env *Environment) startStoreOutage() error {
	return env.startOutage(&env.storeDown, "the store is down")
}

// startReadOnly makes the store read-only for a while.
func (env *Environment) startReadOnly() error {
	return env.startOutage(&env.readOnly, "the store is read-only")
}

// disconnectReplica disconnects one replica from the store for a while.
func (env *Environment) disconnectReplica() error {
	r := env.replicas[env.rng.IntN(replicas)]
	return env.startOutage(&r.disconnection, r.id+" is disconnected from the store")
}

func (env *Environment) stopAnyReplica() error {
	return env.stopReplica(env.rng.IntN(replicas), env.now+env.outageDuration())
}

// stopAllReplicas stops all replicas at once, and starts them again within 3 s of each other, like a release without a rolling update.
func (env *Environment) stopAllReplicas() error {
	until := env.now + env.outageDuration()
	for i := range replicas {
		if err := env.stopReplica(i, until+env.rng.Int64N(3000)); err != nil {
			return err
		}
	}
	return nil
}

func (env *Environment) stopReplica(i int, until int64) error {
	r := env.replicas[i]
	if !r.isUp {
		return nil
	}
	env.restartAt[i] = until
	env.guarantees.disturbedAt = env.now
	env.note("%s stops for %d ms", r.id, until-env.now)
	return r.stop()
}

// startReplica starts a replica again, sometimes with other settings.
func (env *Environment) startReplica(i int) error {
	r := env.replicas[i]
	env.restartAt[i] = 0
	env.guarantees.disturbedAt = env.now
	if env.rng.IntN(2) == 0 {
		times := int64(1)
		if r.Threshold.Milliseconds() == env.threshold {
			times = 2
		}
		r.settings = env.settingsFor(times)
	}
	env.note("%s starts with a threshold of %s", r.id, r.Threshold)
	return r.start()
}

// stallCheckers stalls the checkers of all replicas for a while. After it, each sweeps before it beats again.
func (env *Environment) stallCheckers() error {
	until := env.now + env.outageDuration()
	for _, r := range env.replicas {
		if r.isUp && r.nextSweep != 0 {
			r.nextBeat = max(r.nextBeat, until+1)
			r.nextSweep = max(r.nextSweep, until)
		}
	}
	env.guarantees.disturbedAt = env.now
	env.note("the checkers stall for %d ms", until-env.now)
	return nil
}

// lockRows makes the store fail the heartbeats of one controller, of about half of them, or of all. All other writes succeed.
func (env *Environment) lockRows() error {
	share := pick(env, []int{0, 0, 2, 1})
	for i, c := range env.fleet {
		if share == 0 && i != env.rng.IntN(len(env.fleet)) || share > 0 && env.rng.IntN(share) > 0 {
			continue
		}
		env.lockedUntil[c.id] = env.now + env.outageDuration()
		env.note("the row of %s is locked for %d ms", c.id, env.lockedUntil[c.id]-env.now)
	}
	return nil
}

func (env *Environment) isLocked(id string) bool { return env.lockedUntil[id] > env.now }

func (env *Environment) anyLocked() bool {
	return slices.ContainsFunc(env.fleet, func(c *controller) bool { return env.isLocked(c.id) })
}

// stepDatabaseClock sets the database's clock. It does so at most once in three thresholds, so that the checks have to consider one step
// at a time.
func (env *Environment) stepDatabaseClock() error {
	if env.guarantees.hasClockStep(env.now - 3*env.threshold) {
		return nil
	}
	by := env.rng.Int64N(2*toleranceMs) - toleranceMs
	if env.rng.IntN(2) == 0 {
		by = env.rng.Int64N(8*env.threshold) - 4*env.threshold
	}
	env.skew += by
	env.guarantees.recordClockStep(env.now, by)
	env.note("the database's clock is set by %d ms", by)
	return env.setDatabaseClock()
}
