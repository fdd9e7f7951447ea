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

// deathThreshold is the staleness threshold in measureDeath, the shortest that is allowed for heartbeats 2 s apart.
const deathThreshold = 8 * time.Second

// measureDeath stops every controller at once, and reports how long after threshold and interval the last of
// them was marked.
func (s *sized) measureDeath() error {
	// The replicas of the other parts had a threshold of an hour, and the longest of the replicas in use counts.
	if _, err := s.store.db.ExecContext(s.ctx, "DELETE FROM replicas"); err != nil {
		return err
	}
	d, err := s.startDaemon("MC_STALENESS_THRESHOLD_SECONDS=8", "FAST_HEARTBEAT_INTERVAL_MS=2000", "COMPREHENSIVE_HEARTBEAT_INTERVAL_MS=6000")
	if err != nil {
		return err
	}
	defer d.stop()

	// The restart counts as an outage, which has to be over before a silence counts. Until then the fleet beats.
	for range 3 {
		time.Sleep(deathThreshold / 2)
		if err := s.store.setHeartbeats(s.ctx); err != nil {
			return err
		}
	}
	fell := time.Now()

	var first time.Duration
	deadline := fell.Add(2 * time.Minute)
	for {
		var marked int
		if err := s.store.db.GetContext(s.ctx, &marked, "SELECT count(*) FROM meeting_controllers WHERE stale"); err != nil {
			return err
		}
		since := time.Since(fell)
		if marked > 0 && first == 0 {
			first = since
		}
		if marked >= s.controllers {
			s.report(SizeRow{
				What:   "death of the whole fleet",
				Detail: fmt.Sprintf("%d controllers, threshold 8 s", s.controllers),
				N:      marked,
				Worst:  float64(since.Milliseconds()),
				Note: fmt.Sprintf("first marked after %s, last after %s; promised 13 s",
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

// measureLoss empties the fleet's table and makes its controllers behave as in the field: send a heartbeat, get NOT_FOUND,
// register once. All share one subject, and nothing is exempt from the limits that are the default.
func (s *sized) measureLoss() error {
	d, err := s.startDaemon()
	if err != nil {
		return err
	}
	defer d.stop()
	token, err := s.token("mc:register")
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
	err = together(200, s.lost, func(i int) error {
		client := pb.NewGlobalControllerServiceClient(conns[i%len(conns)])
		registered, err := returnOnce(ctx, client, i)
		if err == nil && !registered {
			refused.Add(1)
		}
		return err
	})
	if err != nil {
		return err
	}
	took := time.Since(began)

	var there int
	if err := s.store.db.GetContext(s.ctx, &there, "SELECT count(*) FROM meeting_controllers"); err != nil {
		return err
	}
	s.report(SizeRow{
		What:   "registration after a loss",
		Detail: fmt.Sprintf("%d controllers, one subject", s.lost),
		N:      there,
		Worst:  float64(took.Milliseconds()),
		Note:   fmt.Sprintf("%d registered at the first try, %d refused", there, refused.Load()),
	})
	return nil
}

// returnOnce reports whether an unregistered controller was registered at its only attempt.
func returnOnce(ctx context.Context, client pb.GlobalControllerServiceClient, i int) (bool, error) {
	_, err := client.FastHeartbeat(ctx, fastBeat(i))
	if status.Code(err) != codes.NotFound {
		return false, fmt.Errorf("a heartbeat of an unknown controller: want NOT_FOUND, got %w", err)
	}

	answer, err := client.RegisterMC(ctx, &pb.RegisterMCRequest{
		Id: name(i), Region: fmt.Sprintf("region-%d", i%10), GrpcEndpoint: "http://mc.example:50052", MaxMeetings: 100, MaxParticipants: 5000,
	})
	return err == nil && answer.GetAccepted(), nil
}
