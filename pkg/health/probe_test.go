package health

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestProbeTellsWhatIsWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var store atomic.Value
		store.Store("down")
		p := NewProbe(map[string]func(context.Context) string{
			"store": func(context.Context) string { return store.Load().(string) },
			"keys":  func(context.Context) string { return StateOK },
		})
		if diff := cmp.Diff(map[string]string{"store": "starting", "keys": "starting"}, p.State()); diff != "" {
			t.Errorf("State() before the first look (-want +got):\n%s", diff)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var told []bool
		done := make(chan error)
		go func() { done <- p.Run(ctx, func(ready bool) { told = append(told, ready) }) }()
		synctest.Wait()
		if diff := cmp.Diff(map[string]string{"store": "down", "keys": "ok"}, p.State()); diff != "" {
			t.Errorf("State() (-want +got):\n%s", diff)
		}
		store.Store(StateOK)
		time.Sleep(BeatInterval)
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
		if diff := cmp.Diff([]bool{false, true}, told); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
	})
}
