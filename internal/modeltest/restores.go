package modeltest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"darktower.example/global-controller/service"
)

const (
	// Every restoreEvery steps, the test takes or restores a backup.
	restoreEvery = 40
	// cursorsKept is the number of cursors that are tried on a restored history.
	cursorsKept = 25
	// allTransitions is more than a history of this test has.
	allTransitions = 100_000
)

// Backup is a copy of the store at one time.
type Backup interface {
	// Restore opens the copy. Its database uses the given clock.
	Restore(clock func() time.Time) (Store, error)
	// Drop removes the copy.
	Drop() error
}

// restores takes backups of the store and restores them into a second store. There the transitions since the backup are lost, and others
// get their ids. It has its own random number generator, so that a seed gives the same history with and without it.
type restores struct {
	rng    *rand.Rand
	backup Backup
	// backupID is the id of the newest transition in the backup. cursors are the last ones that the history returned, before and after it.
	backupID int64
	cursors  []service.Cursor
	number   int
}

func newRestores(seed uint64) *restores {
	return &restores{rng: rand.New(rand.NewPCG(seed, 1))} //nolint:gosec // A seed must give the same numbers.
}

// checkRestores takes a backup, or restores the last one and continues from every cursor there.
func (env *Environment) checkRestores(n int) error {
	if env.cfg.Backup == nil || n%restoreEvery != 0 {
		return nil
	}
	list, err := env.observerStore.Transitions(context.Background(), service.TransitionFilter{After: env.lastID, Limit: 1})
	if err != nil {
		return fmt.Errorf("read the end of the history: %w", err)
	}

	r := env.restores
	r.cursors = append(r.cursors, list.Through)
	r.cursors = r.cursors[max(0, len(r.cursors)-cursorsKept):]
	switch {
	case r.backup == nil:
		r.backupID = list.Through.ID
		r.backup, err = env.cfg.Backup()
		return err
	case r.rng.IntN(4) > 0:
		return nil
	}

	restored, err := r.backup.Restore(env.databaseTime)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	err = errors.Join(r.continueFromCursors(restored, list.Through.ID), restored.Close(), r.backup.Drop())
	r.backup = nil
	return err
}

// continueFromCursors adds transitions to a restored store, up to about the id that the lost ones had reached. Then it continues from
// each cursor. A cursor from before the backup returns all later transitions; a cursor from after it is gone.
func (r *restores) continueFromCursors(restored Store, lastID int64) error {
	ctx := context.Background()
	for range r.rng.IntN(int(min(60, lastID-r.backupID)) + 5) {
		r.number++
		registration := service.Registration{
			ControllerID:    fmt.Sprintf("restored-%d", r.number),
			Region:          "eu",
			GRPCEndpoint:    "http://restored",
			MaxMeetings:     1,
			MaxParticipants: 1,
		}
		if _, err := restored.Register(ctx, registration, "client"); err != nil {
			return fmt.Errorf("register in a restored store: %w", err)
		}
	}

	first := min(r.backupID, r.cursors[0].ID)
	all, err := restored.Transitions(ctx, service.TransitionFilter{After: first, Limit: allTransitions})
	if err != nil {
		return fmt.Errorf("read a restored history: %w", err)
	}

	for _, c := range r.cursors {
		got, err := restored.Transitions(ctx, service.TransitionFilter{After: c.ID, Fingerprint: c.Fingerprint, Limit: allTransitions})
		isKept := c.ID <= r.backupID
		want := transitionsAfter(all.Transitions, c.ID)
		switch {
		case isKept && err != nil:
			return fmt.Errorf("cursor %v of the backup (up to %d) fails after the restore: %w", c, r.backupID, err)
		case isKept && !slices.Equal(got.Transitions, want):
			return fmt.Errorf("cursor %v returns\n    %+v, want\n    %+v", c, got.Transitions, want)
		case !isKept && !errors.Is(err, service.ErrGone):
			return fmt.Errorf("cursor %v of a lost transition (after %d) returns %d transitions and %q, want ErrGone",
				c, r.backupID, len(got.Transitions), resultText(err))
		}
	}
	return nil
}

func transitionsAfter(all []service.Transition, id int64) []service.Transition {
	at := slices.IndexFunc(all, func(t service.Transition) bool { return t.ID > id })
	if at < 0 {
		return nil
	}
	return all[at:]
}
