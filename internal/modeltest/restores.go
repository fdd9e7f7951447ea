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
	// restoreEvery is after how many steps a backup is taken, or restored.
	restoreEvery = 40
	// cursorsKept is how many cursors are tried on a history that was restored.
	cursorsKept = 25
	// allChanges is more than a history has here.
	allChanges = 100_000
)

// Backup is a copy of the world's store at one time.
type Backup interface {
	// Restore opens the copy by a clock.
	Restore(clock func() time.Time) (Store, error)
	// Drop gives it up.
	Drop() error
}

// restores takes backups of a world and restores them beside it: what was made since is lost there, and something else
// takes its numbers. It has dice of its own, so that a seed is the same history with and without it.
type restores struct {
	dice   *rand.Rand
	backup Backup
	// kept is the newest change of the backup, and cursors are those that the world's history gave out, before and since.
	kept    int64
	cursors []service.Cursor
	number  int
}

func newRestores(seed uint64) *restores {
	return &restores{dice: rand.New(rand.NewPCG(seed, 1))} //nolint:gosec // It has to be foreseeable.
}

// checkRestores backs the store up, or restores the last backup and has every cursor go on there.
func (w *World) checkRestores(n int) error {
	if w.cfg.Backup == nil || n%restoreEvery != 0 {
		return nil
	}
	list, err := w.eye.Transitions(context.Background(), service.TransitionFilter{After: w.lastID, Limit: 1})
	if err != nil {
		return fmt.Errorf("read where the history ends: %w", err)
	}

	r := w.restores
	r.cursors = append(r.cursors, list.Through)
	r.cursors = r.cursors[max(0, len(r.cursors)-cursorsKept):]
	switch {
	case r.backup == nil:
		r.kept = list.Through.ID
		r.backup, err = w.cfg.Backup()
		return err
	case r.dice.IntN(4) > 0:
		return nil
	}
	restored, err := r.backup.Restore(w.databaseTime)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	err = errors.Join(r.follow(restored, list.Through.ID), restored.Close(), r.backup.Drop())
	r.backup = nil
	return err
}

// follow makes changes in a store that was restored, up to about the number that was reached before, and goes on after
// each cursor: from those of the backup all that is new is read, and the others are gone.
func (r *restores) follow(restored Store, reached int64) error {
	ctx := context.Background()
	for range r.dice.IntN(int(min(60, reached-r.kept)) + 5) {
		r.number++
		registration := service.Registration{
			ControllerID: fmt.Sprintf("restored-%d", r.number), Region: "eu", GRPCEndpoint: "http://restored", MaxMeetings: 1, MaxParticipants: 1,
		}
		if _, err := restored.Register(ctx, registration, "client"); err != nil {
			return fmt.Errorf("register after a restoration: %w", err)
		}
	}
	first := min(r.kept, r.cursors[0].ID)
	all, err := restored.Transitions(ctx, service.TransitionFilter{After: first, Limit: allChanges})
	if err != nil {
		return fmt.Errorf("read a history that was restored: %w", err)
	}

	for _, c := range r.cursors {
		got, err := restored.Transitions(ctx, service.TransitionFilter{After: c.ID, Fingerprint: c.Fingerprint, Limit: allChanges})
		isKept := c.ID <= r.kept
		want := changesAfter(all.Transitions, c.ID)
		switch {
		case isKept && err != nil:
			return fmt.Errorf("cursor %v was backed up (up to %d), and does not go on after the restoration: %w", c, r.kept, err)
		case isKept && !slices.Equal(got.Transitions, want):
			return fmt.Errorf("after cursor %v come\n    %+v, want\n    %+v", c, got.Transitions, want)
		case !isKept && !errors.Is(err, service.ErrGone):
			return fmt.Errorf("cursor %v is of what was lost (after %d), and %d changes follow it without a word: %w", c, r.kept, len(got.Transitions), err)
		}
	}
	return nil
}

func changesAfter(all []service.Transition, id int64) []service.Transition {
	at := slices.IndexFunc(all, func(t service.Transition) bool { return t.ID > id })
	if at < 0 {
		return nil
	}
	return all[at:]
}
