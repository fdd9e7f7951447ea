// Package simulation drives the real service, checker and store through random histories in virtual time, and holds
// after every step what the contract promises. It knows of the fleet only what an outside observer knows: what was
// asked, what was answered, and when.
package modeltest

import (
	"slices"
	"time"

	"darktower.example/global-controller/service"
)

// remembered is how many processes before the registered one are refused when they register: the store promises no
// more, and the simulated fleet has no older ones alive.
const remembered = 4

// record is a controller as it has to look after what was acknowledged. The zero record is one that is not there.
type record struct {
	present                      bool
	region, endpoint             string
	maxMeetings, maxParticipants int64
	meetings, participants       int64
	cpu, memory                  float64 // unknown until the first comprehensive heartbeat
	reported                     service.HealthStatus
	stale                        bool
	drain                        drain
	generation                   int64
	incarnation                  string
	conflicts                    int64
	heard, created               int64 // by the database's clock
}

// unknown is what a record says of usage that nobody reported.
const unknown = -1

// drain is an operator's order.
type drain struct {
	draining        bool
	since, deadline int64 // deadline 0 for none
	reason, by      string
}

func (d drain) intent() service.Intent {
	if !d.draining {
		return service.Intent{}
	}
	return service.Intent{Draining: true, Deadline: instant(d.deadline), Reason: d.reason}
}

// instant is the zero time for 0.
func instant(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// state is the table of the contract's section 5, with the empty state for who is not there.
func (r record) state() service.HealthStatus {
	switch {
	case !r.present:
		return ""
	case r.drain.draining || r.reported == service.HealthDraining:
		return service.HealthDraining
	case r.stale:
		return service.HealthUnhealthy
	}
	return r.reported
}

// shown is a controller as an observer sees it.
func shown(c service.Controller) record {
	r := record{
		present: true, region: c.Region, endpoint: c.GRPCEndpoint, maxMeetings: c.MaxMeetings, maxParticipants: c.MaxParticipants,
		meetings: c.CurrentMeetings, participants: c.CurrentParticipants, cpu: unknown, memory: unknown, reported: c.Facts.Reported, stale: c.Facts.Stale,
		generation: c.Generation, incarnation: c.Incarnation, conflicts: c.IncarnationConflicts,
		heard: millis(c.LastHeartbeatAt), created: millis(c.CreatedAt),
	}
	if c.CPUUsagePercent != nil {
		r.cpu = *c.CPUUsagePercent
	}
	if c.MemoryUsagePercent != nil {
		r.memory = *c.MemoryUsagePercent
	}
	if c.Drain != nil {
		r.drain = drain{draining: true, since: millis(c.Drain.Since), deadline: millis(c.Drain.Deadline), reason: c.Drain.Reason, by: c.Drain.By}
	}
	return r
}

// controller is what is known of one id: the record, and what no record shows.
type controller struct {
	id string
	record
	// floor is the world's: the generation of a controller that is new.
	floor *int64
	// superseded are the processes before the registered one, the latest first.
	superseded []string
	// forgotten are those before them, of which the store promises nothing.
	forgotten []string
	// heardAt is when it was last heard, by the world's time, which nobody sets back.
	heardAt int64
	// toldFast and toldThreshold are the settings of the replica that answered the last registration.
	toldFast, toldThreshold int64
	// ackedBy is the last beat, by the world's time, of the replica that acknowledged the last heartbeat, and ackedThreshold
	// its threshold.
	ackedBy, ackedThreshold int64
	// last is the state that the history ends with.
	last service.HealthStatus
}

// registered is the record after a registration.
func (c *controller) registered(r service.Registration, at int64) (record, error) {
	next := c.record
	if !next.present {
		next = record{present: true, cpu: unknown, memory: unknown, created: at, generation: *c.floor}
	}
	switch {
	case r.Incarnation == "":
		next.reported = service.HealthPending
	case r.Incarnation == c.incarnation && c.present:
		// The same process says the same again: what it reported stays.
	case c.present && slices.Contains(c.superseded, r.Incarnation):
		return c.record, service.ErrSuperseded
	default:
		next.reported = service.HealthPending
	}
	if r.Incarnation != "" {
		next.incarnation = r.Incarnation
	}
	next.region, next.endpoint, next.maxMeetings, next.maxParticipants = r.Region, r.GRPCEndpoint, r.MaxMeetings, r.MaxParticipants
	next.stale, next.heard = false, at
	return next, nil
}

// beaten is the record after a heartbeat.
func (c *controller) beaten(b service.ComprehensiveHeartbeat, comprehensive bool, at int64) (record, error) {
	next := c.record
	switch {
	case !next.present:
		return next, service.ErrNotRegistered
	case c.isAnother(b.Incarnation):
		return next, service.ErrSuperseded
	}
	next.meetings, next.participants, next.reported = b.Capacity.CurrentMeetings, b.Capacity.CurrentParticipants, b.Health
	if comprehensive {
		next.cpu, next.memory = b.CPUUsagePercent, b.MemoryUsagePercent
	}
	next.stale, next.heard = false, at
	return next, nil
}

// isAnother tells whether a process is not the one that is registered, where both sides say which they are.
func (r record) isAnother(incarnation string) bool {
	return incarnation != "" && r.incarnation != "" && incarnation != r.incarnation
}

// drained is the record after an operator's order to drain.
func (r record) drained(order service.DrainOrder, by string, at int64) (record, error) {
	if err := r.decidable(order.ExpectedGeneration); err != nil {
		return r, err
	}
	if !r.drain.draining {
		r.drain.since = at
	}
	r.drain.draining, r.drain.deadline, r.drain.reason, r.drain.by = true, millis(order.Deadline), order.Reason, by
	r.generation++
	return r, nil
}

// undrained is the record after an operator's order to end a drain.
func (r record) undrained(order service.UndrainOrder) (record, error) {
	if err := r.decidable(order.ExpectedGeneration); err != nil {
		return r, err
	}
	if r.drain.draining {
		r.drain = drain{}
		r.generation++
	}
	return r, nil
}

func (r record) decidable(expected *int64) error {
	switch {
	case !r.present:
		return service.ErrNotRegistered
	case expected != nil && *expected != r.generation:
		return service.ErrConflict
	}
	return nil
}

// deregistered is the record after a deregistration. Who leaves by itself does not take the operator's order along.
func (r record) deregistered(d service.Deregistration, byItself bool) (record, error) {
	switch {
	case byItself && d.Incarnation == "":
		return r, service.ErrForbidden
	case !r.present:
		return r, service.ErrNotRegistered
	case byItself && r.incarnation == "":
		return r, service.ErrForbidden
	case r.isAnother(d.Incarnation):
		return r, service.ErrSuperseded
	case byItself && r.drain.draining:
		r.reported, r.meetings, r.participants = service.HealthDraining, 0, 0
		return r, nil
	}
	return record{}, nil
}

// become takes over a record that is known to be the case at the world's time now.
func (c *controller) become(next record, now int64) {
	switch {
	case !next.present:
		c.superseded, c.forgotten = nil, nil
		if c.present {
			*c.floor = max(*c.floor, c.generation+1)
		}
	case c.present && c.incarnation != "" && next.incarnation != c.incarnation:
		c.superseded = append([]string{c.incarnation}, c.superseded...)
		if len(c.superseded) > remembered {
			c.forgotten = append(c.forgotten, c.superseded[remembered])
			c.superseded = c.superseded[:remembered]
		}
	}
	if next.heard != c.heard || !c.present {
		c.heardAt = now
	}
	c.record = next
}

// change is the line of the history that leads from one record to the next; nil when neither the state nor the staleness
// changes.
func change(id string, from, to record, cause service.Cause, actor string, at int64) *service.Transition {
	if from.state() == to.state() && from.stale == to.stale {
		return nil
	}
	t := &service.Transition{ControllerID: id, Region: to.region, At: instant(at), From: from.state(), To: to.state(), Cause: cause, Actor: actor, Reported: to.reported}
	if !to.present {
		t.Region, t.Reported = from.region, from.reported
	}
	if from.present {
		t.Silence = time.Duration(max(0, at-from.heard)) * time.Millisecond
	}
	return t
}
