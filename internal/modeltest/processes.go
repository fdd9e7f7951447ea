package modeltest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"darktower.example/global-controller/service"
)

// kin is how many processes of one controller there are at most, the oldest making room.
const kin = 5

// process is one that goes by the id of a controller: the current one, one that was replaced and does not know, or one
// from before processes had names.
type process struct {
	controller  *controller
	incarnation string
	serial      int64
	beats       int64
	pace        int64 // How far apart its heartbeats are, in milliseconds.
	next        int64 // When the next one is due; 0 while it is dead.
	dying       bool  // The next one is its last.
}

var (
	regions = []string{"eu-west", "us-east"}
	// paces are for the usual threshold.
	paces   = []int64{2_000, 5_000, 10_000, 10_000, 10_000, 15_000, 29_000}
	reports = []service.HealthStatus{
		service.HealthHealthy, service.HealthHealthy, service.HealthHealthy, service.HealthHealthy, service.HealthDegraded,
		service.HealthDegraded, service.HealthUnhealthy, service.HealthPending, service.HealthDraining,
	}
)

func pick[T any](w *World, from []T) T { return from[w.dice.IntN(len(from))] }

// spawn starts a process of a controller, which registers. One in six does not name itself, as in the field.
func (w *World) spawn(c *controller) *process {
	w.serial++
	p := &process{controller: c, serial: w.serial, pace: pick(w, paces) * w.threshold / 30_000}
	if w.dice.IntN(6) > 0 {
		p.incarnation = fmt.Sprintf("%s-%d", c.id, p.serial)
	}
	kindred := 0
	for i := len(w.processes) - 1; i >= 0; i-- {
		if w.processes[i].controller == c {
			if kindred++; kindred >= kin {
				w.processes = slices.Delete(w.processes, i, i+1)
			}
		}
	}
	w.processes = append(w.processes, p)
	return p
}

// live is a process's own heartbeat.
func (w *World) live(p *process) error {
	if p.next = w.now + w.around(p.pace); p.dying {
		p.next = 0
	}
	err, answer := w.beat(p)
	switch {
	case err != nil:
		return err
	case errors.Is(answer, service.ErrNotRegistered):
		// It tries once, and stays silent when that fails, as controllers in the field do.
		if err, answer = w.register(p); answer != nil {
			p.next = 0
		}
	case errors.Is(answer, service.ErrSuperseded) && w.dice.IntN(4) > 0:
		p.next = 0
	}
	return err
}

// around is a time about as long, or now and then exactly as long as the threshold or a little more or less.
func (w *World) around(ms int64) int64 {
	if w.dice.IntN(12) == 0 {
		return w.threshold - 2 + w.dice.Int64N(5)
	}
	return ms/2 + w.dice.Int64N(ms)
}

// errNobody is what is heard where no Global Controller runs.
var errNobody = errors.New("nobody answers")

// register returns a broken promise, and the answer.
func (w *World) register(p *process) (broken, answer error) {
	c, r := p.controller, w.anyReplica()
	if r == nil {
		w.note("%s (process %d) finds nobody to register with", c.id, p.serial)
		return nil, errNobody
	}
	if slices.Contains(c.forgotten, p.incarnation) {
		return nil, service.ErrSuperseded // The store may let it in or not, so it does not ask.
	}
	registration := service.Registration{
		ControllerID: c.id, Region: pick(w, regions), GRPCEndpoint: fmt.Sprintf("http://%s:%d", c.id, 1+p.serial%60000), MaxMeetings: p.serial, MaxParticipants: 2 * p.serial,
		Incarnation: p.incarnation,
	}
	want, wantErr := c.registered(registration, w.clock())
	got, err := r.calls.RegisterMC.Call(w.authorize(r, asController), registration, nil)
	w.note("%s registers process %d (%q) with %s: %s", c.id, p.serial, p.incarnation, r.id, answerOf(err))
	if err == nil && (got.Intent != want.drain.intent() || got.FastInterval != r.Fast || got.ComprehensiveInterval != r.Comprehensive) {
		return fmt.Errorf("registration of %s was answered %+v, want %+v", c.id, got, want.drain.intent()), err
	}
	return w.settle(attempt{c, r, want, wantErr, service.CauseRegister, "client", true}, err), err
}

// heartbeat is the next one of a process: what it says tells who said it, and when.
func (w *World) heartbeat(p *process) (beat service.ComprehensiveHeartbeat, comprehensive bool) {
	p.beats++
	beat.ControllerID, beat.Incarnation, beat.Health = p.controller.id, p.incarnation, pick(w, reports)
	beat.Capacity = &service.Capacity{CurrentMeetings: p.serial*10_000 + p.beats%10_000, CurrentParticipants: p.beats}
	beat.CPUUsagePercent, beat.MemoryUsagePercent = float64(p.beats%400)/4, float64(p.serial%400)/4
	return beat, w.dice.IntN(3) == 0
}

// beat returns a broken promise, and the answer.
func (w *World) beat(p *process) (broken, answer error) {
	r := w.anyReplica()
	beat, comprehensive := w.heartbeat(p)
	if r == nil {
		w.note("%s (process %d) finds nobody to beat for", p.controller.id, p.serial)
		return nil, errNobody
	}
	return w.send(r, p, beat, comprehensive)
}

func (w *World) send(r *replica, p *process, beat service.ComprehensiveHeartbeat, comprehensive bool) (broken, answer error) {
	c := p.controller
	want, wantErr := c.beaten(beat, comprehensive, w.clock())
	got, err := call(w.authorize(r, asController), r, beat, comprehensive)
	w.note("%s beats (process %d, %s) for %s: %s", c.id, p.serial, beat.Health, r.id, answerOf(err))
	if err == nil {
		if broken := w.acknowledged(r, c, got, want); broken != nil {
			return broken, nil
		}
	}
	return w.settle(attempt{c, r, want, wantErr, service.CauseHeartbeat, "client", true}, err), err
}

func call(ctx context.Context, r *replica, beat service.ComprehensiveHeartbeat, comprehensive bool) (service.Acknowledgement, error) {
	if comprehensive {
		return r.calls.ComprehensiveHeartbeat.Call(ctx, beat, nil)
	}
	return r.calls.FastHeartbeat.Call(ctx, beat.FastHeartbeat, nil)
}

// acknowledged: an acknowledgement carries the store's time and the operator's order.
func (w *World) acknowledged(r *replica, c *controller, got service.Acknowledgement, want record) error {
	r.vouching.committed(c.id)
	// What the acknowledgement told holds for as long as the replica is known to be in use.
	c.ackedBy, c.ackedThreshold = r.seenAt, r.Threshold.Milliseconds()
	if got.At.UnixMilli() != w.clock() || got.Intent != want.drain.intent() || got.Intervals != r.Intervals {
		return fmt.Errorf("heartbeat of %s was acknowledged with %+v, want %+v at %d", c.id, got, want.drain.intent(), w.clock())
	}
	return nil
}

func answerOf(err error) string {
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

// dieDraining ends every process of a controller that drains.
func (w *World) dieDraining() error {
	for _, c := range w.fleet {
		if c.state() != service.HealthDraining || w.dice.IntN(2) == 0 {
			continue
		}
		for _, p := range w.processes {
			if p.controller == c {
				p.next = 0
			}
		}
		w.note("%s dies while it drains", c.id)
		return nil
	}
	return nil
}
