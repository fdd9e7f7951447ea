package httptransport

import (
	"errors"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"darktower.example/global-controller/service"
)

// health is a state in JSON: a lower-case word, or its number in protobuf, which protobuf's own JSON also allows.
type health service.HealthStatus

// UnmarshalJSONFrom implements the decoder's interface.
func (h *health) UnmarshalJSONFrom(decoder *jsontext.Decoder) error {
	token, err := decoder.ReadToken()
	if err != nil {
		return err
	}

	const refusal = "health must be one of pending, healthy, degraded, unhealthy, draining"
	switch token.Kind() {
	case '"':
		*h = health(token.String())
		if !service.HealthStatus(*h).IsValid() {
			return service.Invalid(refusal)
		}
		return nil
	case '0':
		n, err := strconv.ParseInt(token.String(), 10, 32)
		if err != nil {
			return service.Invalid(refusal)
		}
		*h = health(service.HealthStatusFromNumber(int32(n)))
		return nil
	default:
		return service.Invalid(refusal)
	}
}

// count is a whole number. A number beyond 64 bits is read as the nearest 64-bit number. So validation, and not the decoder, refuses
// it: in the order of the fields, and only in fields that are not ignored.
type count int64

// UnmarshalJSONFrom implements the decoder's interface. null is 0, as it is for every other number.
func (c *count) UnmarshalJSONFrom(decoder *jsontext.Decoder) error {
	value, err := decoder.ReadValue()
	if err != nil {
		return err
	}
	if value.Kind() == 'n' {
		*c = 0
		return nil
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return errors.New("not a whole number")
	}
	*c = count(n)
	return nil
}

// healthOrNull converts a state; a controller that is not registered has none.
func healthOrNull(h service.HealthStatus) *health {
	if h == "" {
		return nil
	}
	shown := health(h)
	return &shown
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
