package service

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The maximum lengths, in bytes, of fields that this service adds to the protocol.
const (
	maxReasonBytes      = 500
	maxIncarnationBytes = 64
)

// MaxAssumeDrained is the maximum number of controllers that a plan treats as draining. With the longest ids they fit into the 64
// KiB of a call.
const MaxAssumeDrained = 250

// Validate checks the order.
func (o DrainOrder) Validate() error {
	return firstError(
		validateName("controller_id", o.ControllerID, maxIDBytes),
		validateReason(o.Reason),
		validateDeadline(o.Deadline),
		o.validateAssumeDrained(),
	)
}

func (o DrainOrder) validateAssumeDrained() error {
	switch {
	case len(o.AssumeDrained) == 0:
		return nil
	case !o.DryRun:
		return Invalid("assume_drained is only for a dry run")
	case len(o.AssumeDrained) > MaxAssumeDrained:
		return Invalid("assume_drained has too many controllers")
	}
	for _, id := range o.AssumeDrained {
		if err := validateName("an id of assume_drained", id, maxIDBytes); err != nil {
			return err
		}
	}
	return nil
}

// Validate checks the order.
func (o UndrainOrder) Validate() error {
	return firstError(validateName("controller_id", o.ControllerID, maxIDBytes), validateReason(o.Reason))
}

// Validate checks the deregistration.
func (d Deregistration) Validate() error {
	return firstError(
		validateName("controller_id", d.ControllerID, maxIDBytes),
		validateIncarnation(d.Incarnation),
		validateReason(d.Reason),
	)
}

// Validate checks the query.
func (q TransitionQuery) Validate() error {
	if q.ControllerID != "" {
		if err := validateName("controller_id", q.ControllerID, maxIDBytes); err != nil {
			return err
		}
	}
	if q.Region != "" {
		if err := validateName("region", q.Region, maxRegionBytes); err != nil {
			return err
		}
	}

	switch {
	case q.After < 0:
		return errInvalidCursor()
	case q.Before < 0:
		return Invalid("before must not be negative")
	case !isRepresentable(q.Since):
		return Invalid("since must be between 1970 and 9999")
	case !isRepresentable(q.Until):
		return Invalid("until must be between 1970 and 9999")
	case !q.Since.IsZero() && !q.Until.IsZero() && q.Until.Before(q.Since):
		return Invalid("until must not be before since")
	}

	return validatePageSize(q.PageSize)
}

// validateIncarnation checks an incarnation. It is optional, because deployed controllers have none.
func validateIncarnation(value string) error {
	if value == "" {
		return nil
	}
	return validateName("incarnation", value, maxIncarnationBytes)
}

// validateReason allows only text that every log, terminal and page can show.
func validateReason(value string) error {
	switch {
	case len(value) > maxReasonBytes:
		return Invalid("reason is too long")
	case !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl):
		return Invalid("reason contains invalid characters")
	}
	return nil
}

// maxTime is the latest time that RFC 3339 can express.
var maxTime = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

func validateDeadline(deadline time.Time) error {
	if !isRepresentable(deadline) {
		return Invalid("deadline must be between 1970 and 9999")
	}
	return nil
}

// isRepresentable reports whether every store and RFC 3339 can represent a time; the zero time stands for none.
func isRepresentable(t time.Time) bool { return t.IsZero() || t.Unix() >= 0 && !t.After(maxTime) }
