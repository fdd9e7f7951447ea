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
	// resumeFor is how long heartbeats are measured without and with subscribers.
	resumeFor = 15 * time.Second
	// behind is how many changes the resumed subscribers have missed.
	behind = 4900
	// subscribersPerConnection keeps below what a connection carries.
	subscribersPerConnection = 50
)

// measureResumes resumes many subscribers at once, a few thousand changes behind. Each reads one message only.
func (s *sized) measureResumes() error {
	if s.subscribers == 0 {
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

	beats, stop, err := s.beatSteadily(d)
	if err != nil {
		return err
	}
	defer stop()
	time.Sleep(2 * time.Second)
	beats.take()
	time.Sleep(resumeFor)
	s.report(timesRow(SizeRow{What: "heartbeats beside", Detail: "no subscriber"}, beats.take()))

	before := resident(d.cmd.Process.Pid)
	times, refused, leave, err := s.resume(d)
	if err != nil {
		return err
	}
	defer leave()
	row := timesRow(SizeRow{What: "resume, first message", Detail: fmt.Sprintf("%d at once, %d changes behind", s.subscribers, behind)}, times)
	row.Note = fmt.Sprintf("%d refused by a replica that had no subscriber", refused)
	s.report(row)
	s.report(timesRow(SizeRow{What: "heartbeats beside", Detail: "while they resume"}, beats.take()))

	time.Sleep(resumeFor)
	row = timesRow(SizeRow{What: "heartbeats beside", Detail: fmt.Sprintf("%d subscribers that do not read", s.subscribers)}, beats.take())
	grewKiB := float64(resident(d.cmd.Process.Pid)-before) / 1024
	row.Note = fmt.Sprintf("server grew by %.0f KiB a subscriber, the fleet in memory included", grewKiB/float64(s.subscribers))
	s.report(row)
	return nil
}

// latencies are collected by one goroutine and taken by another.
type latencies struct {
	mu  sync.Mutex
	all []time.Duration
}

func (l *latencies) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, d)
}

func (l *latencies) take() []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := l.all
	l.all = nil
	return taken
}

// beatSteadily sends a hundred heartbeats a second, each of another controller, until it is stopped.
func (s *sized) beatSteadily(d *daemon) (*latencies, func(), error) {
	token, err := s.token("mc:register")
	if err != nil {
		return nil, nil, err
	}
	conns, err := connect(d.grpc, 4)
	if err != nil {
		return nil, nil, err
	}

	ctx, cancel := context.WithCancel(s.ctx)
	found := &latencies{}
	var all sync.WaitGroup
	for i, conn := range conns {
		send, err := unary(token)(ctx, conn)
		if err != nil {
			cancel()
			return nil, nil, err
		}
		all.Go(func() {
			ticker := time.NewTicker(time.Duration(len(conns)) * 10 * time.Millisecond)
			defer ticker.Stop()
			for controller := i; ; controller = (controller + len(conns)) % s.controllers {
				select {
				case <-ctx.Done():
					return
				case <-ticker.C:
				}
				began := time.Now()
				if send(ctx, controller) == nil {
					found.add(time.Since(began))
				}
			}
		})
	}
	return found, func() {
		cancel()
		all.Wait()
		closeAll(conns)
	}, nil
}

// resume opens the subscribers' watches and returns how long each waited for its first message. They stay open until leave.
func (s *sized) resume(d *daemon) (times []time.Duration, refused int64, leave func(), _ error) {
	token, err := s.token("gc:read")
	if err != nil {
		return nil, 0, nil, err
	}
	var newest int64
	if err := s.store.db.GetContext(s.ctx, &newest, "SELECT max(id) FROM controller_transitions"); err != nil {
		return nil, 0, nil, err
	}
	conns, err := connect(d.grpc, (s.subscribers+subscribersPerConnection-1)/subscribersPerConnection)
	if err != nil {
		return nil, 0, nil, err
	}

	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(s.ctx, "authorization", "Bearer "+token))
	var (
		all      sync.WaitGroup
		failures atomic.Int64
		found    latencies
	)
	for i := range s.subscribers {
		all.Go(func() {
			began := time.Now()
			after := uint64(newest - behind)
			stream, err := fleetpb.NewFleetServiceClient(conns[i%len(conns)]).Watch(ctx, &fleetpb.WatchRequest{After: &after})
			if err == nil {
				_, err = stream.Recv()
			}
			if err != nil {
				failures.Add(1)
				return
			}
			found.add(time.Since(began))
		})
	}
	all.Wait()
	times = found.take()
	slices.Sort(times)
	return times, failures.Load(), func() {
		cancel()
		closeAll(conns)
	}, nil
}
