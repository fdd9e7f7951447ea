package service

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestCursor_TextFormRoundTrip(t *testing.T) {
	t.Parallel()
	change := Transition{ID: 8, ControllerID: "mc", Region: "eu", At: time.Unix(1_900_000_000, 0), To: HealthPending, Cause: CauseRegister}
	for _, c := range []Cursor{{}, {ID: 8}, change.Cursor()} {
		if got, err := ParseCursor(c.String()); err != nil || got != c {
			t.Errorf("ParseCursor(%q) = %+v, %v, want %+v", c, got, err, c)
		}
	}

	if got, err := ParseCursor(strings.ToUpper(change.Cursor().String())); err != nil || got != change.Cursor() {
		t.Errorf("ParseCursor(in capitals) = %+v, %v", got, err)
	}

	refused := []string{
		"", "-", "x", "-1", "+1", "8-", "8-12", "8-1234567890ag", "8-1234567890abcd", "0-1234567890ab", "8 ", "9223372036854775808",
	}
	for _, text := range refused {
		var invalid *InvalidError
		if got, err := ParseCursor(text); !errors.As(err, &invalid) {
			t.Errorf("ParseCursor(%q) = %+v, %v, want it refused", text, got, err)
		}
	}
}

func TestFingerprint_DiffersByTransition(t *testing.T) {
	t.Parallel()
	one := Transition{
		ID:           8,
		ControllerID: "mc",
		Region:       "eu",
		At:           time.Unix(1_900_000_000, 0),
		From:         HealthHealthy,
		To:           HealthPending,
		Cause:        CauseRegister,
	}
	seen := map[string]bool{one.Fingerprint(): true}
	tests := map[string]func(*Transition){
		"id":         func(t *Transition) { t.ID++ },
		"controller": func(t *Transition) { t.ControllerID = "mc-2" },
		"time":       func(t *Transition) { t.At = t.At.Add(time.Millisecond) },
		"from":       func(t *Transition) { t.From = HealthDegraded },
		"to":         func(t *Transition) { t.To = HealthDegraded },
		"cause":      func(t *Transition) { t.Cause = CauseHeartbeat },
	}

	for name, change := range tests {
		other := one
		change(&other)
		if print := other.Fingerprint(); seen[print] || len(print) != 2*fingerprintBytes {
			t.Errorf("fingerprint with another %s = %q, want another", name, print)
		} else {
			seen[print] = true
		}
	}

	if got := (Transition{}).Fingerprint(); got != "" {
		t.Errorf("fingerprint of a change that is in no history = %q, want none", got)
	}
}
