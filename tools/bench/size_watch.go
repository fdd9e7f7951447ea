package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/metadata"

	fleetpb "darktower.example/global-controller/proto/globalcontroller/v1"
)

const (
	// besideWatchers is how long heartbeats are measured without and with watchers.
	besideWatchers = 15 * time.Second
	// missedTransitions is how many transitions the watchers that resume have missed.
	missedTransitions = 4900
	// watchersPerConnection is below the limit of streams on a connection.
	watchersPerConnection = 50
)

// measureResumes resumes many watches at once, a few thousand transitions behind. Each watcher reads only one message.
func (s *sizeBench) measureResumes() error {
	if s.watchers == 0 {
		return nil
	}
	d, err := s.startDaemon("MC_STALENESS_THRESHOLD_SECONDS=3600", "RATE_LIMIT_RPM=1000000")
	if err != nil {
		return err
	}
	defer d.stop()
	if err := s.store.setHeartbeats(s.ctx); err != nil {
		return err
	}

	heartbeats, stop, err := s.sendSteadily(d)
	if err != nil {
		return err
	}
	defer stop()
	time.Sleep(2 * time.Second)
	heartbeats.take()
	time.Sleep(besideWatchers)
	s.report(addPercentiles(SizeRow{What: "heartbeats beside", Detail: "no watcher"}, heartbeats.take()))

	memoryBefore := residentBytes(d.cmd.Process.Pid)
	times, refused, closeWatches, err := s.resumeWatches(d)
	if err != nil {
		return err
	}
	defer closeWatches()
	s.report(addPercentiles(SizeRow{
		What:   "resume, first message",
		Detail: fmt.Sprintf("%d at once, %d transitions behind", s.watchers, missedTransitions),
		Note:   fmt.Sprintf("%d refused by a replica that had no watcher", refused),
	}, times))
	s.report(addPercentiles(SizeRow{What: "heartbeats beside", Detail: "while they resume"}, heartbeats.take()))

	time.Sleep(besideWatchers)
	grewKiB := float64(residentBytes(d.cmd.Process.Pid)-memoryBefore) / 1024
	s.report(addPercentiles(SizeRow{
		What:   "heartbeats beside",
		Detail: fmt.Sprintf("%d watchers that do not read", s.watchers),
		Note:   fmt.Sprintf("server grew by %.0f KiB for each watcher, including the fleet in memory", grewKiB/float64(s.watchers)),
	}, heartbeats.take()))
	return nil
}

// latencies is safe for concurrent use.
type latencies struct {
	mu    sync.Mutex
	times []time.Duration
}

func (l *latencies) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.times = append(l.times, d)
}

func (l *latencies) take() []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := l.times
	l.times = nil
	return taken
}

// sendSteadily sends a hundred heartbeats a second, each of another controller, until stop is called.
func (s *sizeBench) sendSteadily(d *daemon) (*latencies, func(), error) {
	token, err := s.newToken("mc:register")
	if err != nil {
		return nil, nil, err
	}
	conns, err := connect(d.grpc, 4)
	if err != nil {
		return nil, nil, err
	}

	ctx, cancel := context.WithCancel(s.ctx)
	measured := &latencies{}
	var senders sync.WaitGroup
	for i, conn := range conns {
		send, err := newUnarySender(token)(ctx, conn)
		if err != nil {
			cancel()
			return nil, nil, err
		}

		senders.Go(func() {
			ticker := time.NewTicker(time.Duration(len(conns)) * 10 * time.Millisecond)
			defer ticker.Stop()
			for controller := i; ; controller = (controller + len(conns)) % s.controllers {
				select {
				case <-ctx.Done():
					return
				case <-ticker.C:
				}

				sentAt := time.Now()
				if send(ctx, controller) == nil {
					measured.add(time.Since(sentAt))
				}
			}
		})
	}

	return measured, func() {
		cancel()
		senders.Wait()
		closeAll(conns)
	}, nil
}

// resumeWatches opens the watches and returns how long each waited for its first message. They stay open until closeWatches.
func (s *sizeBench) resumeWatches(d *daemon) (times []time.Duration, refused int64, closeWatches func(), err error) {
	token, err := s.newToken("gc:read")
	if err != nil {
		return nil, 0, nil, err
	}
	var newest int64
	if err := s.store.db.GetContext(s.ctx, &newest, "SELECT max(id) FROM controller_transitions"); err != nil {
		return nil, 0, nil, err
	}
	conns, err := connect(d.grpc, (s.watchers+watchersPerConnection-1)/watchersPerConnection)
	if err != nil {
		return nil, 0, nil, err
	}

	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(s.ctx, "authorization", "Bearer "+token))
	var (
		watchers sync.WaitGroup
		failures atomic.Int64
		measured latencies
	)

	for i := range s.watchers {
		watchers.Go(func() {
			began := time.Now()
			after := uint64(newest - missedTransitions)
			stream, err := fleetpb.NewFleetServiceClient(conns[i%len(conns)]).Watch(ctx, &fleetpb.WatchRequest{After: &after})
			if err == nil {
				_, err = stream.Recv()
			}

			if err != nil {
				failures.Add(1)
				return
			}
			measured.add(time.Since(began))
		})
	}
	watchers.Wait()

	times = measured.take()
	slices.Sort(times)
	return times, failures.Load(), func() {
		cancel()
		closeAll(conns)
	}, nil
}
