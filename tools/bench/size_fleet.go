package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "darktower.example/global-controller/proto/darktower/v1"
)

// crashThreshold is the staleness threshold in measureFleetCrash, the shortest that is allowed for heartbeats each 2 s.
const crashThreshold = 8 * time.Second

// measureFleetCrash stops all heartbeats at once, and measures how long it takes until all controllers are marked stale.
func (s *sizeBench) measureFleetCrash() error {
	// The replicas of the other measurements had a threshold of an hour, and the longest one of all replicas applies.
	if _, err := s.store.db.ExecContext(s.ctx, "DELETE FROM replicas"); err != nil {
		return err
	}

	d, err := s.startDaemon(
		"MC_STALENESS_THRESHOLD_SECONDS=8",
		"FAST_HEARTBEAT_INTERVAL_MS=2000",
		"COMPREHENSIVE_HEARTBEAT_INTERVAL_MS=6000",
	)
	if err != nil {
		return err
	}
	defer d.stop()

	// The restart counts as an outage. Until one threshold after it no controller is marked stale, so heartbeats continue.
	for range 3 {
		time.Sleep(crashThreshold / 2)
		if err := s.store.setHeartbeats(s.ctx); err != nil {
			return err
		}
	}
	stoppedAt := time.Now()

	var first time.Duration
	deadline := stoppedAt.Add(2 * time.Minute)
	for {
		var marked int
		if err := s.store.db.GetContext(s.ctx, &marked, "SELECT count(*) FROM meeting_controllers WHERE stale"); err != nil {
			return err
		}
		since := time.Since(stoppedAt)
		if marked > 0 && first == 0 {
			first = since
		}

		if marked >= s.controllers {
			s.report(SizeRow{
				What:   "marking the whole fleet as stale",
				Detail: fmt.Sprintf("%d controllers, threshold 8 s", s.controllers),
				N:      marked,
				Worst:  float64(since.Milliseconds()),
				Note: fmt.Sprintf("first marked after %s, last after %s; guaranteed 13 s",
					first.Round(10*time.Millisecond), since.Round(10*time.Millisecond)),
			})
			return nil
		}

		if time.Now().After(deadline) {
			return fmt.Errorf("only %d of %d controllers are marked", marked, s.controllers)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// measureTableLoss empties the fleet's table and makes its controllers behave as in production: send a heartbeat, receive
// NOT_FOUND, register once. All share one subject, and the default limits apply.
func (s *sizeBench) measureTableLoss() error {
	d, err := s.startDaemon()
	if err != nil {
		return err
	}
	defer d.stop()
	token, err := s.newToken("mc:register")
	if err != nil {
		return err
	}
	if _, err := s.store.db.ExecContext(s.ctx, "DELETE FROM meeting_controllers"); err != nil {
		return err
	}

	conns, err := connect(d.grpc, 50)
	if err != nil {
		return err
	}
	defer closeAll(conns)
	ctx := metadata.NewOutgoingContext(s.ctx, metadata.Pairs("authorization", "Bearer "+token))
	var refused atomic.Int64
	began := time.Now()
	err = runConcurrently(200, s.lost, func(i int) error {
		client := pb.NewGlobalControllerServiceClient(conns[i%len(conns)])
		registered, err := registerOnce(ctx, client, i)
		if err == nil && !registered {
			refused.Add(1)
		}

		return err
	})
	if err != nil {
		return err
	}
	took := time.Since(began)

	var registered int
	if err := s.store.db.GetContext(s.ctx, &registered, "SELECT count(*) FROM meeting_controllers"); err != nil {
		return err
	}
	s.report(SizeRow{
		What:   "registration after a loss",
		Detail: fmt.Sprintf("%d controllers, one subject", s.lost),
		N:      registered,
		Worst:  float64(took.Milliseconds()),
		Note:   fmt.Sprintf("%d registered at the first attempt, %d refused", registered, refused.Load()),
	})
	return nil
}

// registerOnce reports whether an unregistered controller was registered at its only attempt.
func registerOnce(ctx context.Context, client pb.GlobalControllerServiceClient, i int) (bool, error) {
	_, err := client.FastHeartbeat(ctx, fastHeartbeat(i))
	if status.Code(err) != codes.NotFound {
		return false, fmt.Errorf("heartbeat of an unknown controller: want NOT_FOUND, got %w", err)
	}

	response, err := client.RegisterMC(ctx, newRegistration(i))
	return err == nil && response.GetAccepted(), nil
}
