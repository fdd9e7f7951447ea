package watch

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestTurns_OneAtATimeAndWhatIsLiveFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := &turns{free: 1}
		var (
			sending atomic.Int32
			order   []turnClass
			group   sync.WaitGroup
		)
		first := newTurn(all)
		if !first.take(t.Context(), liveTurn, nil) {
			t.Fatal("take() = false, want the only turn")
		}
		for _, class := range []turnClass{bulkTurn, replayTurn, liveTurn, bulkTurn, liveTurn} {
			group.Go(func() {
				mine := newTurn(all)
				if !mine.take(t.Context(), class, nil) {
					t.Error("take() = false, want a turn")
				}
				if n := sending.Add(1); n != 1 {
					t.Errorf("%d send at once, want one", n)
				}
				order = append(order, class)
				time.Sleep(turnLimit / 2)
				sending.Add(-1)
				mine.end()
			})
		}
		synctest.Wait()
		first.end()
		group.Wait()
		for i, want := range []turnClass{liveTurn, liveTurn, replayTurn, bulkTurn, bulkTurn} {
			if order[i] != want {
				t.Fatalf("order = %v, want what is live first and bulk last", order)
			}
		}
	})
}

func TestTurns_APeerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := &turns{free: 1}
		blocked, other := newTurn(all), newTurn(all)
		blocked.take(t.Context(), liveTurn, nil)
		began := time.Now()
		other.take(t.Context(), liveTurn, nil)
		if waited := time.Since(began); waited > turnLimit {
			t.Errorf("a turn came after %v, want it within %v", waited, turnLimit)
		}
		// It is not waited for another time, as it costs nothing while its peer is waited for.
		blocked.end()
		if !blocked.take(t.Context(), liveTurn, nil) || all.free != 0 {
			t.Errorf("take() waits, or takes the turn of another: %d free", all.free)
		}
		blocked.end()
		other.end()
		if all.free != 1 {
			t.Errorf("%d turns are free, want one", all.free)
		}
	})
}

func TestTurns_ShareOfBulk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := &turns{free: 1}
		mine, sent := newTurn(all), time.Duration(0)
		began := time.Now()
		for range 100 {
			mine.take(t.Context(), bulkTurn, nil)
			time.Sleep(turnLimit / 2)
			sent += turnLimit / 2
			mine.end()
		}
		if took := time.Since(began); took < (bulkShare-1)*sent {
			t.Errorf("bulk was sent for %v of %v, want at most a part of %d", sent, took, bulkShare)
		}
	})
}

// TestTurns_PlaceIsKept: a reader that waits for bulk, and sends something live meanwhile, does not fall behind others.
func TestTurns_PlaceIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := &turns{free: 1}
		holder, early, late := newTurn(all), newTurn(all), newTurn(all)
		holder.take(t.Context(), liveTurn, nil)
		news := make(chan struct{})
		close(news)
		if early.take(t.Context(), bulkTurn, news) {
			t.Error("take() = true, want the news")
		}
		var order []string
		var group sync.WaitGroup
		group.Go(func() {
			late.take(t.Context(), bulkTurn, nil)
			order = append(order, "late")
			late.end()
		})
		synctest.Wait()
		group.Go(func() {
			early.take(t.Context(), bulkTurn, nil)
			order = append(order, "early")
			early.end()
		})
		synctest.Wait()
		holder.end()
		group.Wait()
		if len(order) != 2 || order[0] != "early" {
			t.Errorf("order = %v, want the one that came first", order)
		}

		// One that leaves is not waited for.
		holder.take(t.Context(), liveTurn, nil)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if early.take(ctx, liveTurn, nil) || early.take(ctx, bulkTurn, nil) {
			t.Error("take() = true, want the caller's end")
		}
		early.leave()
		holder.end()
		if all.free != 1 || all.waiting[liveTurn].Len()+all.waiting[bulkTurn].Len() != 0 {
			t.Errorf("%d turns are free, want one, and nobody waiting", all.free)
		}
	})
}
