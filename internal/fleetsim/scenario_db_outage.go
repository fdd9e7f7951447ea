package fleetsim

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
)

func dbOutage() Scenario {
	return Scenario{
		Name: "db-outage", Summary: "the store takes no writes for 3 × the staleness threshold", Needs: Needs{Own: true},
		Run: func(ctx context.Context, w *World) error {
			steady, err := w.Settle(ctx)
			if err != nil {
				return err
			}
			outage := w.Timing.outage()
			w.Note("%s", w.Store.HowFails())
			w.Phase("the store is away for %s", short(outage))
			if err := w.Store.Fail(); err != nil {
				return err
			}
			// A call that began with the outage may have been taken before it.
			began := time.Now().Add(bucketWidth)
			if err := w.Wait(ctx, outage); err != nil {
				return err
			}
			// Those that began last are not answered yet, so they are not counted.
			during := w.Series.Between(began, time.Now())
			if err := w.Store.Heal(); err != nil {
				return err
			}
			recovered := time.Now()
			w.MarkAll(recovered)
			w.Promise("heartbeats acknowledged during the outage", "0", fmt.Sprintf("%d of %d%s", during.Codes[codes.OK], during.Heartbeats, codesOf(during)), during.Codes[codes.OK] == 0)
			if err := w.CheckHeard(ctx, recovered, "the store is back"); err != nil {
				return err
			}
			if err := w.CheckPeak(ctx, recovered, steady, "recovery"); err != nil {
				return err
			}
			return w.CheckAfterOutage(ctx, recovered)
		},
	}
}
