package service

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The longest values of what this service adds to the protocol, in bytes.
const (
	maxReasonBytes      = 500
	maxIncarnationBytes = 64
)

// Validate checks the order.
func (o DrainOrder) Validate() error {
	return firstError(
		validateName("controller_id", o.ControllerID, maxIDBytes),
		validateReason(o.Reason),
		validateDeadline(o.Deadline),
	)
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

// Validate checks the selection.
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
	if q.After < 0 {
		return Invalid("after must not be negative")
	}
	return validatePageSize(q.PageSize)
}

// validateIncarnation: an incarnation is optional, because controllers in the field know none.
func validateIncarnation(value string) error {
	if value == "" {
		return nil
	}
	return validateName("incarnation", value, maxIncarnationBytes)
}

// validateReason keeps what people write to what every log, terminal and page can show.
func validateReason(value string) error {
	switch {
	case len(value) > maxReasonBytes:
		return Invalid("reason is too long")
	case !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl):
		return Invalid("reason contains invalid characters")
	}
	return nil
}

// The latest deadline: what RFC 3339 can write.
var maxDeadline = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

func validateDeadline(deadline time.Time) error {
	if !deadline.IsZero() && (deadline.Unix() < 0 || deadline.After(maxDeadline)) {
		return Invalid("deadline must be between 1970 and 9999")
	}
	return nil
}
