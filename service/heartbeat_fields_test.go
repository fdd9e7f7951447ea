package service

import (
	"reflect"
	"testing"

	"darktower.example/global-controller/internal/testfill"
)

// TestStoreHeartbeat_StoresEveryField checks that every field of a heartbeat is stored. storeHeartbeat copies field by field, so a
// field that it lacks would be lost without an error.
func TestStoreHeartbeat_StoresEveryField(t *testing.T) {
	t.Parallel()
	var heartbeat ComprehensiveHeartbeat
	testfill.Fill(t, &heartbeat, 1)
	base := storedHeartbeat(t, heartbeat)
	for _, name := range testfill.Empty(&base) {
		t.Errorf("HeartbeatWrite.%s is empty: set it in storeHeartbeat", name)
	}

	for name, field := range testfill.Fields(&heartbeat) {
		old := reflect.ValueOf(field.Interface())
		testfill.Fill(t, field.Addr().Interface(), 2)
		isStored := !reflect.DeepEqual(storedHeartbeat(t, heartbeat), base)
		field.Set(old)

		if !isStored {
			t.Errorf("the field %s of a heartbeat has no effect on the HeartbeatWrite: copy it in storeHeartbeat", name)
		}
	}
}

// storedHeartbeat sends a comprehensive heartbeat and returns what reached the store. It checks that a fast heartbeat stores the same
// except the usage.
func storedHeartbeat(t *testing.T, h ComprehensiveHeartbeat) HeartbeatWrite {
	t.Helper()
	store := &fakeStore{}
	svc, _ := newTestService(store)
	ctx := WithCaller(t.Context(), Caller{Subject: "client-1"})

	if _, err := svc.FastHeartbeat(ctx, h.FastHeartbeat); err != nil {
		t.Fatalf("FastHeartbeat() = %v, want nil: testfill must set a valid value", err)
	}
	fast := store.beat
	if _, err := svc.ComprehensiveHeartbeat(ctx, h); err != nil {
		t.Fatalf("ComprehensiveHeartbeat() = %v, want nil: testfill must set a valid value", err)
	}

	comprehensive := store.beat
	comprehensive.Usage = nil
	if !reflect.DeepEqual(fast, comprehensive) {
		t.Errorf("a fast heartbeat stores %+v, want the same as a comprehensive one without its usage: %+v", fast, comprehensive)
	}
	return store.beat
}
