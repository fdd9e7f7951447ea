package watch

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestTurns_LiveBeforeReplayBeforeBulk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := &turns{free: 1}
		var (
			sending atomic.Int32
			order   []turnClass
			group   sync.WaitGroup
		)
		first := newTurn(all)
		if !first.acquire(t.Context(), liveTurn, nil) {
			t.Fatal("acquire() = false, want the only turn")
		}

		for _, class := range []turnClass{bulkTurn, replayTurn, liveTurn, bulkTurn, liveTurn} {
			group.Go(func() {
				mine := newTurn(all)
				if !mine.acquire(t.Context(), class, nil) {
					t.Error("acquire() = false, want a turn")
				}
				if n := sending.Add(1); n != 1 {
					t.Errorf("%d watches send at the same time, want one", n)
				}
				order = append(order, class)
				time.Sleep(maxTurnTime / 2)
				sending.Add(-1)
				mine.release()
			})
		}

		synctest.Wait()
		first.release()
		group.Wait()
		for i, want := range []turnClass{liveTurn, liveTurn, replayTurn, bulkTurn, bulkTurn} {
			if order[i] != want {
				t.Fatalf("order = %v, want live turns first and bulk turns last", order)
			}
		}
	})
}

func TestTurns_BlockedWatchLosesTurnAtLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := &turns{free: 1}
		blocked, other := newTurn(all), newTurn(all)
		blocked.acquire(t.Context(), liveTurn, nil)
		began := time.Now()
		other.acquire(t.Context(), liveTurn, nil)
		if waited := time.Since(began); waited > maxTurnTime {
			t.Errorf("a turn came after %v, want it within %v", waited, maxTurnTime)
		}

		// The blocked watch does not wait for its next turn, and takes no turn of another.
		blocked.release()
		if !blocked.acquire(t.Context(), liveTurn, nil) || all.free != 0 {
			t.Errorf("acquire() waits, or takes the turn of another: %d free", all.free)
		}
		blocked.release()
		other.release()
		if all.free != 1 {
			t.Errorf("%d turns are free, want one", all.free)
		}
	})
}

func TestTurns_BulkShareIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := &turns{free: 1}
		mine, sent := newTurn(all), time.Duration(0)
		began := time.Now()
		for range 100 {
			mine.acquire(t.Context(), bulkTurn, nil)
			time.Sleep(maxTurnTime / 2)
			sent += maxTurnTime / 2
			mine.release()
		}
		if took := time.Since(began); took < (bulkCostFactor-1)*sent {
			t.Errorf("bulk turns took %v of %v, want at most one part in %d", sent, took, bulkCostFactor)
		}
	})
}

// TestTurns_LiveEventKeepsPlaceInBulkQueue: a watch that sends something live while it waits for a bulk turn keeps its place in the queue.
func TestTurns_LiveEventKeepsPlaceInBulkQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := &turns{free: 1}
		holder, early, late := newTurn(all), newTurn(all), newTurn(all)
		holder.acquire(t.Context(), liveTurn, nil)
		updated := make(chan struct{})
		close(updated)
		if early.acquire(t.Context(), bulkTurn, updated) {
			t.Error("acquire() = true, want false because of the update")
		}

		var order []string
		var group sync.WaitGroup
		group.Go(func() {
			late.acquire(t.Context(), bulkTurn, nil)
			order = append(order, "late")
			late.release()
		})

		synctest.Wait()
		group.Go(func() {
			early.acquire(t.Context(), bulkTurn, nil)
			order = append(order, "early")
			early.release()
		})

		synctest.Wait()
		holder.release()
		group.Wait()
		if len(order) != 2 || order[0] != "early" {
			t.Errorf("order = %v, want the earlier request first", order)
		}

		// A watch that has closed holds no turn and no place.
		holder.acquire(t.Context(), liveTurn, nil)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if early.acquire(ctx, liveTurn, nil) || early.acquire(ctx, bulkTurn, nil) {
			t.Error("acquire() = true, want false because the context has ended")
		}
		early.cancel()
		holder.release()
		if all.free != 1 || all.queues[liveTurn].Len()+all.queues[bulkTurn].Len() != 0 {
			t.Errorf("%d turns are free, want one and empty queues", all.free)
		}
	})
}
