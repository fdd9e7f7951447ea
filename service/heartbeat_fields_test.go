package service

import (
	"reflect"
	"testing"
)

// TestStoreHeartbeat_StoresEveryField checks that every field of a heartbeat is stored. storeHeartbeat copies field by field, so a
// field that it lacks would be lost without an error.
func TestStoreHeartbeat_StoresEveryField(t *testing.T) {
	t.Parallel()
	base := storedHeartbeat(t, filledHeartbeat(t))
	for name, value := range leafFields("", reflect.ValueOf(base)) {
		if value.IsZero() {
			t.Errorf("HeartbeatWrite.%s is empty: set it in storeHeartbeat", name)
		}
	}

	heartbeat := filledHeartbeat(t)
	for name, value := range leafFields("", reflect.ValueOf(heartbeat).Elem()) {
		old := reflect.ValueOf(value.Interface())
		fillOther(t, name, value)
		isStored := !reflect.DeepEqual(storedHeartbeat(t, heartbeat), base)
		value.Set(old)

		if !isStored {
			t.Errorf("the field %s of a heartbeat has no effect on the HeartbeatWrite: copy it in storeHeartbeat", name)
		}
	}
}

// storedHeartbeat sends a comprehensive heartbeat and returns what reached the store. It checks that a fast heartbeat stores the same
// except the usage.
func storedHeartbeat(t *testing.T, h *ComprehensiveHeartbeat) HeartbeatWrite {
	t.Helper()
	store := &fakeStore{}
	svc, _ := newTestService(store)
	ctx := WithCaller(t.Context(), Caller{Subject: "client-1"})

	if _, err := svc.FastHeartbeat(ctx, h.FastHeartbeat); err != nil {
		t.Fatalf("FastHeartbeat() = %v, want nil: fillField must set a valid value", err)
	}
	fast := store.beat
	if _, err := svc.ComprehensiveHeartbeat(ctx, *h); err != nil {
		t.Fatalf("ComprehensiveHeartbeat() = %v, want nil: fillField must set a valid value", err)
	}

	comprehensive := store.beat
	comprehensive.Usage = nil
	if fast != comprehensive {
		t.Errorf("a fast heartbeat stores %+v, want the same as a comprehensive one without its usage: %+v", fast, comprehensive)
	}
	return store.beat
}

func filledHeartbeat(t *testing.T) *ComprehensiveHeartbeat {
	t.Helper()
	h := &ComprehensiveHeartbeat{FastHeartbeat: FastHeartbeat{Load: &LoadReport{}}}
	for name, value := range leafFields("", reflect.ValueOf(h).Elem()) {
		fillField(t, name, value, "a", 1, HealthHealthy)
	}
	return h
}

// fillOther sets a field to another value than filledHeartbeat does.
func fillOther(t *testing.T, name string, value reflect.Value) {
	t.Helper()
	fillField(t, name, value, "b", 2, HealthDegraded)
}

func fillField(t *testing.T, name string, value reflect.Value, text string, number int, health HealthStatus) {
	t.Helper()
	if value.Kind() == reflect.Pointer {
		value.Set(reflect.New(value.Type().Elem()))
		value = value.Elem()
	}

	switch {
	case value.Type() == reflect.TypeFor[HealthStatus]():
		value.SetString(string(health))
	case value.Kind() == reflect.String:
		value.SetString(text)
	case value.CanInt():
		value.SetInt(int64(number))
	case value.CanFloat():
		value.SetFloat(float64(number))
	case value.Kind() == reflect.Bool:
		value.SetBool(number == 2)
	default:
		t.Fatalf("field %s has the type %v: add it to fillField", name, value.Type())
	}
}

// leafFields yields the fields of a struct and of the structs in it by path. Embedded structs have no name in the path. A nil pointer to
// a struct is a field itself.
func leafFields(prefix string, value reflect.Value) func(yield func(string, reflect.Value) bool) {
	return func(yield func(string, reflect.Value) bool) {
		for i := range value.NumField() {
			field, path := value.Field(i), prefix
			if !value.Type().Field(i).Anonymous {
				path += value.Type().Field(i).Name
			}

			inner := field
			if inner.Kind() == reflect.Pointer && !inner.IsNil() {
				inner = inner.Elem()
			}
			if inner.Kind() != reflect.Struct || inner.Type().PkgPath() == "time" {
				if !yield(path, field) {
					return
				}
				continue
			}

			if path != prefix {
				path += "."
			}
			for name, leaf := range leafFields(path, inner) {
				if !yield(name, leaf) {
					return
				}
			}
		}
	}
}
