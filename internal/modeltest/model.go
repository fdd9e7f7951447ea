// Package modeltest is the model-based test. It drives the real service, checker and store through random histories in virtual time. After
// every step it checks the guarantees that docs/model-test.md lists. Its model is an outside observer: it knows what was requested, what
// was returned, and when.
package modeltest

import (
	"slices"
	"time"

	"darktower.example/global-controller/service"
)

// rememberedIncarnations is the number of former processes of a controller whose registration is refused. The store guarantees no more,
// and the test sends no registrations of older ones.
const rememberedIncarnations = 4

// record is the expected state of a controller. The zero record is a controller that is not registered.
type record struct {
	isPresent                    bool
	region, endpoint             string
	maxMeetings, maxParticipants int64
	meetings, participants       int64
	cpu, memory                  float64 // unknownUsage until the first comprehensive heartbeat
	reported                     service.HealthStatus
	isStale                      bool
	drain                        drain
	generation                   int64
	incarnation                  string
	conflicts                    int64
	lastHeartbeat, created       int64 // database times
}

// unknownUsage stands for CPU or memory usage that was not reported.
const unknownUsage = -1

// drain is an operator's order.
type drain struct {
	isDraining      bool
	since, deadline int64 // deadline 0 means none
	reason, by      string
}

func (d drain) intent() service.Intent {
	if !d.isDraining {
		return service.Intent{}
	}
	return service.Intent{Draining: true, Deadline: toTime(d.deadline), Reason: d.reason}
}

// toTime converts Unix milliseconds; 0 becomes the zero time.
func toTime(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// toMs converts to Unix milliseconds; the zero time becomes 0.
func toMs(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// state returns the public state: an operator's drain or a reported one comes before staleness, and staleness before any other reported
// state. A controller that is not registered has the empty state.
func (r record) state() service.HealthStatus {
	switch {
	case !r.isPresent:
		return ""
	case r.drain.isDraining || r.reported == service.HealthDraining:
		return service.HealthDraining
	case r.isStale:
		return service.HealthUnhealthy
	}
	return r.reported
}

// recordOf returns the record of a controller as a public read shows it.
func recordOf(c service.Controller) record {
	r := record{
		isPresent:       true,
		region:          c.Region,
		endpoint:        c.GRPCEndpoint,
		maxMeetings:     c.MaxMeetings,
		maxParticipants: c.MaxParticipants,
		meetings:        c.CurrentMeetings,
		participants:    c.CurrentParticipants,
		cpu:             unknownUsage,
		memory:          unknownUsage,
		reported:        c.Facts.Reported,
		isStale:         c.Facts.Stale,
		generation:      c.Generation,
		incarnation:     c.Incarnation,
		conflicts:       c.IncarnationConflicts,
		lastHeartbeat:   toMs(c.LastHeartbeatAt),
		created:         toMs(c.CreatedAt),
	}

	if c.CPUUsagePercent != nil {
		r.cpu = *c.CPUUsagePercent
	}
	if c.MemoryUsagePercent != nil {
		r.memory = *c.MemoryUsagePercent
	}

	if c.Drain != nil {
		r.drain = drain{
			isDraining: true,
			since:      toMs(c.Drain.Since),
			deadline:   toMs(c.Drain.Deadline),
			reason:     c.Drain.Reason,
			by:         c.Drain.By,
		}
	}
	return r
}

// controller is the model of one controller id: its record, and what public reads do not show.
type controller struct {
	id string
	record
	// generationFloor points to the environment's: the generation of a new controller.
	generationFloor *int64
	// superseded are the former incarnations, latest first.
	superseded []string
	// forgotten are the incarnations before those. The store guarantees nothing about them.
	forgotten []string
	// lastHeartbeatAt is the true time of the last heartbeat or registration.
	lastHeartbeatAt int64
	// givenFast and givenThreshold are the settings of the replica that accepted the last registration.
	givenFast, givenThreshold int64
	// ackedBeatAt is the true time of the last beat of the replica that acknowledged the last heartbeat; ackedThreshold is its threshold.
	ackedBeatAt, ackedThreshold int64
	// lastState is the state in which the controller's history ends.
	lastState service.HealthStatus
}

// afterRegistration returns the expected record after a registration, or the expected error.
func (c *controller) afterRegistration(r service.Registration, at int64) (record, error) {
	next := c.record
	if !next.isPresent {
		next = record{isPresent: true, cpu: unknownUsage, memory: unknownUsage, created: at, generation: *c.generationFloor}
	}

	switch {
	case r.Incarnation == "":
		next.reported = service.HealthPending
	case r.Incarnation == c.incarnation && c.isPresent:
		// The same process registers again: its reported state stays.
	case c.isPresent && slices.Contains(c.superseded, r.Incarnation):
		return c.record, service.ErrSuperseded
	default:
		next.reported = service.HealthPending
	}
	if r.Incarnation != "" {
		next.incarnation = r.Incarnation
	}

	next.region, next.endpoint = r.Region, r.GRPCEndpoint
	next.maxMeetings, next.maxParticipants = r.MaxMeetings, r.MaxParticipants
	next.isStale, next.lastHeartbeat = false, at
	return next, nil
}

// afterHeartbeat returns the expected record after a heartbeat, or the expected error.
func (c *controller) afterHeartbeat(h service.ComprehensiveHeartbeat, isComprehensive bool, at int64) (record, error) {
	next := c.record
	switch {
	case !next.isPresent:
		return next, service.ErrNotRegistered
	case c.conflictsWith(h.Incarnation):
		return next, service.ErrSuperseded
	}

	next.meetings, next.participants = h.Load.CurrentMeetings, h.Load.CurrentParticipants
	next.reported = h.Health
	if isComprehensive {
		next.cpu, next.memory = h.CPUUsagePercent, h.MemoryUsagePercent
	}
	next.isStale, next.lastHeartbeat = false, at
	return next, nil
}

// conflictsWith reports whether an incarnation is not the registered one. An empty incarnation on either side conflicts with none.
func (r record) conflictsWith(incarnation string) bool {
	return incarnation != "" && r.incarnation != "" && incarnation != r.incarnation
}

// afterDrain returns the expected record after an operator's drain, or the expected error.
func (r record) afterDrain(order service.DrainOrder, by string, at int64) (record, error) {
	if err := r.checkExpectedGeneration(order.ExpectedGeneration); err != nil {
		return r, err
	}
	if !r.drain.isDraining {
		r.drain.since = at
	}
	r.drain.isDraining = true
	r.drain.deadline = toMs(order.Deadline)
	r.drain.reason, r.drain.by = order.Reason, by
	r.generation++
	return r, nil
}

// afterUndrain returns the expected record after an operator ends a drain, or the expected error.
func (r record) afterUndrain(order service.UndrainOrder) (record, error) {
	if err := r.checkExpectedGeneration(order.ExpectedGeneration); err != nil {
		return r, err
	}
	if r.drain.isDraining {
		r.drain = drain{}
		r.generation++
	}
	return r, nil
}

func (r record) checkExpectedGeneration(expected *int64) error {
	switch {
	case !r.isPresent:
		return service.ErrNotRegistered
	case expected != nil && *expected != r.generation:
		return service.ErrConflict
	}
	return nil
}

// afterDeregistration returns the expected record after a deregistration, or the expected error. If a controller that an operator drains
// deregisters itself, it stays registered, so that the drain is kept.
func (r record) afterDeregistration(d service.Deregistration, isOwn bool) (record, error) {
	switch {
	case isOwn && d.Incarnation == "":
		return r, service.ErrForbidden
	case !r.isPresent:
		return r, service.ErrNotRegistered
	case isOwn && r.incarnation == "":
		return r, service.ErrForbidden
	case r.conflictsWith(d.Incarnation):
		return r, service.ErrSuperseded
	case isOwn && r.drain.isDraining:
		r.reported = service.HealthDraining
		r.meetings, r.participants = 0, 0
		return r, nil
	}
	return record{}, nil
}

// setRecord replaces the record at the true time now, and keeps the incarnations and generations that the old one had.
func (c *controller) setRecord(next record, now int64) {
	switch {
	case !next.isPresent:
		c.superseded, c.forgotten = nil, nil
		if c.isPresent {
			*c.generationFloor = max(*c.generationFloor, c.generation+1)
		}
	case c.isPresent && c.incarnation != "" && next.incarnation != c.incarnation:
		c.superseded = append([]string{c.incarnation}, c.superseded...)
		if len(c.superseded) > rememberedIncarnations {
			c.forgotten = append(c.forgotten, c.superseded[rememberedIncarnations])
			c.superseded = c.superseded[:rememberedIncarnations]
		}
	}

	if next.lastHeartbeat != c.lastHeartbeat || !c.isPresent {
		c.lastHeartbeatAt = now
	}
	c.record = next
}

// expectedTransition returns the transition between two records; nil if neither the public state nor the staleness changes.
func expectedTransition(id string, from, to record, cause service.Cause, actor string, at int64) *service.Transition {
	if from.state() == to.state() && from.isStale == to.isStale {
		return nil
	}

	t := &service.Transition{
		ControllerID: id,
		Region:       to.region,
		At:           toTime(at),
		From:         from.state(),
		To:           to.state(),
		Cause:        cause,
		Actor:        actor,
		Reported:     to.reported,
	}

	if !to.isPresent {
		t.Region, t.Reported = from.region, from.reported
	}
	if from.isPresent {
		t.Silence = time.Duration(max(0, at-from.lastHeartbeat)) * time.Millisecond
	}
	return t
}
