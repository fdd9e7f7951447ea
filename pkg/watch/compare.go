package watch

import (
	"time"

	"darktower.example/global-controller/service"
)

// equalExceptLoad reports whether two states of a controller differ at most in the fields of [service.WatchLoad]. Whether a
// controller is drained or full is not part of the load, because placement depends on it.
func equalExceptLoad(a, b *service.Controller) bool {
	return withoutLoad(a) == withoutLoad(b) &&
		a.CreatedAt.Equal(b.CreatedAt) &&
		equalDrains(a.Drain, b.Drain) &&
		equalTimes(a.LastConflictAt, b.LastConflictAt) &&
		a.IsDrained() == b.IsDrained() &&
		a.IsPastDeadline() == b.IsPastDeadline() &&
		(a.CurrentMeetings >= a.MaxMeetings) == (b.CurrentMeetings >= b.MaxMeetings) &&
		(a.CurrentParticipants >= a.MaxParticipants) == (b.CurrentParticipants >= b.MaxParticipants)
}

// withoutLoad returns the controller without its load, and without the fields whose pointers or times == compares by identity. Add every
// new pointer here, and compare its value in equalExceptLoad or equalLoads.
func withoutLoad(c *service.Controller) service.Controller {
	rest := *c
	rest.CurrentMeetings, rest.CurrentParticipants, rest.CPUUsagePercent, rest.MemoryUsagePercent = 0, 0, nil, nil
	rest.LastHeartbeatAt, rest.UpdatedAt, rest.AsOf = time.Time{}, time.Time{}, time.Time{}
	rest.CreatedAt, rest.Drain, rest.LastConflictAt = time.Time{}, nil, nil
	return rest
}

func equalDrains(a, b *service.Drain) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Reason == b.Reason && a.By == b.By && a.Since.Equal(b.Since) && a.Deadline.Equal(b.Deadline)
}

func equalTimes(a, b *time.Time) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Equal(*b)
}

func equalLoads(a, b *service.Controller) bool {
	return a.CurrentMeetings == b.CurrentMeetings &&
		a.CurrentParticipants == b.CurrentParticipants &&
		a.LastHeartbeatAt.Equal(b.LastHeartbeatAt) &&
		equalValues(a.CPUUsagePercent, b.CPUUsagePercent) &&
		equalValues(a.MemoryUsagePercent, b.MemoryUsagePercent)
}

func equalValues[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// changesLoadOnly reports whether an update of a controller changes only its load. The fields that an update does not have change when
// the controller registers, which makes it pending. A read of the whole fleet finds changes that were made by hand.
func changesLoadOnly(c *service.Controller, u *service.ControllerUpdate) bool {
	mayHaveRegistered := (u.Health == service.HealthPending || u.Facts.Reported == service.HealthPending) && !c.UpdatedAt.Equal(u.UpdatedAt)
	return !mayHaveRegistered &&
		c.Health == u.Health &&
		c.Facts == u.Facts &&
		c.Generation == u.Generation &&
		c.MaxMeetings == u.MaxMeetings &&
		c.MaxParticipants == u.MaxParticipants &&
		c.IncarnationConflicts == u.IncarnationConflicts
}

// withLoad returns the controller with the load of an update.
func withLoad(c *service.Controller, u *service.ControllerUpdate) *service.Controller {
	updated := *c
	updated.CurrentMeetings, updated.CurrentParticipants = u.CurrentMeetings, u.CurrentParticipants
	updated.CPUUsagePercent, updated.MemoryUsagePercent = u.CPUUsagePercent, u.MemoryUsagePercent
	updated.LastHeartbeatAt, updated.UpdatedAt = u.LastHeartbeatAt, u.UpdatedAt
	if u.AsOf.After(c.AsOf) {
		updated.AsOf = u.AsOf
	}
	return &updated
}

func loadOf(c *service.Controller) service.WatchLoad {
	return service.WatchLoad{
		ControllerID:        c.ControllerID,
		CurrentMeetings:     c.CurrentMeetings,
		CurrentParticipants: c.CurrentParticipants,
		CPUUsagePercent:     c.CPUUsagePercent,
		MemoryUsagePercent:  c.MemoryUsagePercent,
		LastHeartbeatAt:     c.LastHeartbeatAt,
		Drained:             c.IsDrained(),
	}
}
