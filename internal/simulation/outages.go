package simulation

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

func (w *World) startReplica(i int) error {
	w.upAt[i], w.promises.disturbed = 0, w.now
	w.note("%s starts", w.replicas[i].id)
	return w.replicas[i].start()
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
