package health

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestServiceability_ConditionsAndVouching(t *testing.T) {
	store, keys := "starting", StateOK
	s := NewServiceability(
		Condition{ConditionStore, func() string { return store }},
		Condition{"keys", func() string { return keys }},
	)
	for _, tc := range []struct {
		store, keys   string
		isServiceable bool
		vouches       bool
	}{
		{StateOK, StateOK, true, true},
		{"disk_full", StateOK, false, true},
		{StateOK, "none", false, false},
	} {
		store, keys = tc.store, tc.keys

		if s.IsServiceable() != tc.isServiceable || s.CanVouch() != tc.vouches {
			t.Errorf("store %s, keys %s: serviceable = %v, vouches = %v, want %v, %v",
				store, keys, s.IsServiceable(), s.CanVouch(), tc.isServiceable, tc.vouches)
		}
		if diff := cmp.Diff(map[string]string{"store": tc.store, "keys": tc.keys}, s.States()); diff != "" {
			t.Errorf("State() (-want +got):\n%s", diff)
		}
	}
}
