package modeltest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"darktower.example/global-controller/service"
)

// maxProcesses is the largest number of processes of one controller. A new one replaces the oldest.
const maxProcesses = 5

// process is a process that uses a controller's id: the registered one, one that was replaced and still runs, or one without an
// incarnation.
type process struct {
	controller  *controller
	incarnation string
	serial      int64
	beats       int64
	interval    int64 // time between its heartbeats, in milliseconds
	nextAt      int64 // time of its next heartbeat; 0 if it does not run
	isEnding    bool  // The next heartbeat is its last.
}

var (
	regions = []string{"eu-west", "us-east"}
	// heartbeatIntervals are for a threshold of 30 s, in milliseconds.
	heartbeatIntervals = []int64{2_000, 5_000, 10_000, 10_000, 10_000, 15_000, 29_000}
	reports            = []service.HealthStatus{
		service.HealthHealthy, service.HealthHealthy, service.HealthHealthy, service.HealthHealthy, service.HealthDegraded,
		service.HealthDegraded, service.HealthUnhealthy, service.HealthPending, service.HealthDraining,
	}
)

func pick[T any](env *Environment, from []T) T { return from[env.rng.IntN(len(from))] }

// startProcess starts a process of a controller. One in six has no incarnation, like deployed controllers.
func (env *Environment) startProcess(c *controller) *process {
	env.serial++
	p := &process{controller: c, serial: env.serial, interval: pick(env, heartbeatIntervals) * env.threshold / 30_000}
	if env.rng.IntN(6) > 0 {
		p.incarnation = fmt.Sprintf("%s-%d", c.id, p.serial)
	}

	count := 0
	for i := len(env.processes) - 1; i >= 0; i-- {
		if env.processes[i].controller == c {
			if count++; count >= maxProcesses {
				env.processes = slices.Delete(env.processes, i, i+1)
			}
		}
	}
	env.processes = append(env.processes, p)
	return p
}

// schedule makes a process send heartbeats from now on.
func (env *Environment) schedule(p *process) {
	p.nextAt = env.now + env.jitter(p.interval)
	p.isEnding = false
}

// endProcesses ends all processes of a controller.
func (env *Environment) endProcesses(c *controller) {
	for _, p := range env.processes {
		if p.controller == c {
			p.nextAt = 0
		}
	}
}

// sendScheduledHeartbeat runs a process whose next heartbeat is due.
func (env *Environment) sendScheduledHeartbeat(p *process) error {
	if p.nextAt = env.now + env.jitter(p.interval); p.isEnding {
		p.nextAt = 0
	}

	checkErr, callErr := env.sendHeartbeat(p)
	switch {
	case checkErr != nil:
		return checkErr
	case errors.Is(callErr, service.ErrNotRegistered):
		// Like deployed controllers, it tries to register once, and sends nothing more if that fails.
		if checkErr, callErr = env.register(p); callErr != nil {
			p.nextAt = 0
		}
	case errors.Is(callErr, service.ErrSuperseded) && env.rng.IntN(4) > 0:
		p.nextAt = 0
	}
	return checkErr
}

// jitter draws a duration around ms, or sometimes the threshold give or take 2 ms.
func (env *Environment) jitter(ms int64) int64 {
	if env.rng.IntN(12) == 0 {
		return env.threshold - 2 + env.rng.Int64N(5)
	}
	return ms/2 + env.rng.Int64N(ms)
}

// errNoReplica is the result of a call while no replica is up.
var errNoReplica = errors.New("no replica is up")

// register registers a process with any replica. It returns a failed check, and the result of the call.
func (env *Environment) register(p *process) (checkErr, callErr error) {
	c, r := p.controller, env.pickReplica()
	if r == nil {
		env.note("%s (process %d) cannot register: no replica is up", c.id, p.serial)
		return nil, errNoReplica
	}
	if slices.Contains(c.forgotten, p.incarnation) {
		return nil, service.ErrSuperseded // The store may accept or refuse it, so the test does not call.
	}

	registration := service.Registration{
		ControllerID:    c.id,
		Region:          pick(env, regions),
		GRPCEndpoint:    fmt.Sprintf("http://%s:%d", c.id, 1+p.serial%60000),
		MaxMeetings:     p.serial,
		MaxParticipants: 2 * p.serial,
		Incarnation:     p.incarnation,
	}
	want, wantErr := c.afterRegistration(registration, env.databaseNow())
	got, err := r.calls.RegisterMC.Call(env.authorize(r, asController), registration, nil)
	env.note("%s registers process %d (%q) with %s: %s", c.id, p.serial, p.incarnation, r.id, resultText(err))

	if err == nil && (got.Intent != want.drain.intent() || got.FastInterval != r.Fast || got.ComprehensiveInterval != r.Comprehensive) {
		return fmt.Errorf("registration of %s returned %+v, want %+v", c.id, got, want.drain.intent()), err
	}
	return env.checkCall(attempt{
		controller:     c,
		replica:        r,
		want:           want,
		wantErr:        wantErr,
		cause:          service.CauseRegister,
		actor:          "client",
		countsConflict: true,
	}, err), err
}

// nextHeartbeat returns the next heartbeat of a process, and whether it is comprehensive. Its numbers identify process and heartbeat.
func (env *Environment) nextHeartbeat(p *process) (h service.ComprehensiveHeartbeat, isComprehensive bool) {
	p.beats++
	h.ControllerID, h.Incarnation = p.controller.id, p.incarnation
	h.Health = pick(env, reports)
	h.Load = &service.LoadReport{CurrentMeetings: p.serial*10_000 + p.beats%10_000, CurrentParticipants: p.beats}
	h.CPUUsagePercent, h.MemoryUsagePercent = float64(p.beats%400)/4, float64(p.serial%400)/4
	return h, env.rng.IntN(3) == 0
}

// sendHeartbeat sends the next heartbeat of a process to any replica. It returns a failed check, and the result of the call.
func (env *Environment) sendHeartbeat(p *process) (checkErr, callErr error) {
	r := env.pickReplica()
	h, isComprehensive := env.nextHeartbeat(p)
	if r == nil {
		env.note("%s (process %d) cannot send a heartbeat: no replica is up", p.controller.id, p.serial)
		return nil, errNoReplica
	}
	return env.sendHeartbeatTo(r, p, h, isComprehensive)
}

func (env *Environment) sendHeartbeatTo(
	r *replica, p *process, h service.ComprehensiveHeartbeat, isComprehensive bool,
) (checkErr, callErr error) {
	c := p.controller
	want, wantErr := c.afterHeartbeat(h, isComprehensive, env.databaseNow())
	got, err := callHeartbeat(env.authorize(r, asController), r, h, isComprehensive)
	env.note("%s sends a heartbeat (process %d, %s) to %s: %s", c.id, p.serial, h.Health, r.id, resultText(err))

	if err == nil {
		if checkErr := env.checkAcknowledgement(r, c, got, want); checkErr != nil {
			return checkErr, nil
		}
	}
	return env.checkCall(attempt{
		controller:     c,
		replica:        r,
		want:           want,
		wantErr:        wantErr,
		cause:          service.CauseHeartbeat,
		actor:          "client",
		countsConflict: true,
	}, err), err
}

func callHeartbeat(
	ctx context.Context, r *replica, h service.ComprehensiveHeartbeat, isComprehensive bool,
) (service.Acknowledgement, error) {
	if isComprehensive {
		return r.calls.ComprehensiveHeartbeat.Call(ctx, h, nil)
	}
	return r.calls.FastHeartbeat.Call(ctx, h.FastHeartbeat, nil)
}

// checkAcknowledgement checks that an acknowledgement has the store's time, the operator's intent, and the replica's intervals.
func (env *Environment) checkAcknowledgement(r *replica, c *controller, got service.Acknowledgement, want record) error {
	r.vouchModel.recordCommit(c.id)
	// The replica's threshold applies to the controller for as long as the replica counts as in use.
	c.ackedBeatAt, c.ackedThreshold = r.lastBeatAt, r.Threshold.Milliseconds()
	if got.At.UnixMilli() != env.databaseNow() || got.Intent != want.drain.intent() || got.Intervals != r.Intervals {
		return fmt.Errorf("heartbeat of %s was acknowledged with %+v, want %+v at %d", c.id, got, want.drain.intent(), env.databaseNow())
	}
	return nil
}

// resultText returns the text of a result for the trace. It does not depend on the kind of store.
func resultText(err error) string {
	for _, known := range []error{
		service.ErrNotRegistered, service.ErrSuperseded, service.ErrUnavailable, service.ErrConflict, service.ErrForbidden,
		service.ErrUnsafe, service.ErrUnauthenticated,
	} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	if err != nil {
		return err.Error()
	}
	return "ok"
}

// crashWhileDraining ends every process of a draining controller.
func (env *Environment) crashWhileDraining() error {
	for _, c := range env.fleet {
		if c.state() != service.HealthDraining || env.rng.IntN(2) == 0 {
			continue
		}
		env.endProcesses(c)
		env.note("%s crashes while it drains", c.id)
		return nil
	}
	return nil
}
