package modeltest

import "slices"

// lasting is how long an outage lasts: often about as long as goes unnoticed, sometimes longer than a threshold.
func (w *World) lasting() int64 {
	if w.dice.IntN(2) == 0 {
		return 1 + w.dice.Int64N(2*toleranceMs)
	}
	return 1 + w.dice.Int64N(2*w.threshold)
}

func (w *World) stopReplica() error { return w.stopOne(w.dice.IntN(replicas), w.now+w.lasting()) }

func (w *World) stopOne(i int, until int64) error {
	r := w.replicas[i]
	if !r.up {
		return nil
	}
	w.upAt[i], w.promises.disturbed = until, w.now
	w.note("%s stops for %d ms", r.id, until-w.now)
	return r.stop()
}

// startReplica starts a replica again, now and then with other settings.
func (w *World) startReplica(i int) error {
	w.upAt[i], w.promises.disturbed = 0, w.now
	if w.dice.IntN(2) == 0 {
		times := int64(1)
		if w.replicas[i].Threshold.Milliseconds() == w.threshold {
			times = 2
		}
		w.replicas[i].settings = w.settingsFor(times)
	}
	w.note("%s starts with a threshold of %s", w.replicas[i].id, w.replicas[i].Threshold)
	return w.replicas[i].start()
}

// stallCheckers keeps the checkers of all replicas from running for a while; each sweeps before it beats again.
func (w *World) stallCheckers() error {
	until := w.now + w.lasting()
	for _, r := range w.replicas {
		if r.up && r.nextSweep != 0 {
			r.nextBeat, r.nextSweep = max(r.nextBeat, until+1), max(r.nextSweep, until)
		}
	}
	w.promises.disturbed = w.now
	w.note("the checkers stall for %d ms", until-w.now)
	return nil
}

// spoilWrites makes the store read-only for a while.
func (w *World) spoilWrites() error {
	if !w.readOnly {
		w.readOnly, w.readOnlyUntil, w.promises.disturbed = true, w.now+w.lasting(), w.now
		w.note("the store is read-only for %d ms", w.readOnlyUntil-w.now)
	}
	return nil
}

func (w *World) endReadOnly() error {
	w.readOnly, w.readOnlyUntil, w.promises.disturbed = false, 0, w.now
	w.note("the store takes writes again")
	return nil
}

// lockRows keeps the heartbeats of one controller, of some or of all out of a store that takes everything else.
func (w *World) lockRows() error {
	share := pick(w, []int{0, 0, 2, 1})
	for i, c := range w.fleet {
		if share == 0 && i != w.dice.IntN(len(w.fleet)) || share > 0 && w.dice.IntN(share) > 0 {
			continue
		}
		w.locked[c.id] = w.now + w.lasting()
		w.note("the row of %s is locked for %d ms", c.id, w.locked[c.id]-w.now)
	}
	return nil
}

func (w *World) isLocked(id string) bool { return w.locked[id] > w.now }

func (w *World) anyLocked() bool {
	return slices.ContainsFunc(w.fleet, func(c *controller) bool { return w.isLocked(c.id) })
}

// stopAll is a new version that is rolled out all at once.
func (w *World) stopAll() error {
	until := w.now + w.lasting()
	for i := range replicas {
		if err := w.stopOne(i, until+w.dice.Int64N(3000)); err != nil {
			return err
		}
	}
	return nil
}

func (w *World) breakStore() error {
	if !w.down {
		w.down, w.downUntil, w.promises.disturbed = true, w.now+w.lasting(), w.now
		w.note("the store is down for %d ms", w.downUntil-w.now)
	}
	return nil
}

func (w *World) endOutage() error {
	w.down, w.downUntil, w.promises.disturbed = false, 0, w.now
	w.note("the store is back")
	return nil
}

// cutReplica keeps one replica from the store.
func (w *World) cutReplica() error {
	i := w.dice.IntN(replicas)
	if r := w.replicas[i]; !r.cut {
		r.cut, w.cutUntil[i], w.promises.disturbed = true, w.now+w.lasting(), w.now
		w.note("%s is cut off for %d ms", r.id, w.cutUntil[i]-w.now)
	}
	return nil
}

func (w *World) mend(i int) error {
	w.replicas[i].cut, w.cutUntil[i], w.promises.disturbed = false, 0, w.now
	w.note("%s reaches the store again", w.replicas[i].id)
	return nil
}

// setClock sets the database's clock, at most once in three thresholds, so that one setting can be judged at a time.
func (w *World) setClock() error {
	if w.promises.stepped(w.now - 3*w.threshold) {
		return nil
	}
	by := w.dice.Int64N(2*toleranceMs) - toleranceMs
	if w.dice.IntN(2) == 0 {
		by = w.dice.Int64N(8*w.threshold) - 4*w.threshold
	}
	w.skew += by
	w.promises.clockSet(w.now, by)
	w.note("the database's clock is set by %d ms", by)
	return w.tellClock()
}
