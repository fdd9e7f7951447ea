package fleetsim

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
)

func dbOutage() Scenario {
	return Scenario{
		Name:    "db-outage",
		Summary: "the store accepts no writes for 3 × the staleness threshold",
		Needs:   Needs{OwnGC: true},
		Run: func(ctx context.Context, env *Environment) error {
			steady, err := env.StartFleet(ctx)
			if err != nil {
				return err
			}

			outage := env.Timing.outageSpan()
			env.AddNote("%s", env.Store.DescribeFailure())
			env.SetPhase("the store is unavailable for %s", formatDuration(outage))
			if err := env.Store.Fail(); err != nil {
				return err
			}
			// A call at the beginning of the outage may have been committed before it.
			from := time.Now().Add(bucketWidth)
			if err := env.Wait(ctx, outage); err != nil {
				return err
			}

			// The last calls have no result yet, so they are not counted.
			during := env.Series.CountsBetween(from, time.Now())
			if err := env.Store.Restore(); err != nil {
				return err
			}
			recoveredAt := time.Now()
			env.ResetFirstAcks(recoveredAt)

			env.RecordCheck("heartbeats acknowledged during the outage", "0",
				fmt.Sprintf("%d of %d%s", during.Codes[codes.OK], during.Heartbeats, formatCodes(during)),
				during.Codes[codes.OK] == 0)
			if err := env.CheckHeartbeatsResume(ctx, recoveredAt, "the outage"); err != nil {
				return err
			}
			if err := env.CheckPeakRate(ctx, recoveredAt, steady, "the outage"); err != nil {
				return err
			}
			return env.CheckAfterOutage(ctx, recoveredAt)
		},
	}
}
