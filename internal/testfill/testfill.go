// Package testfill fills structs for tests that find forgotten fields: a copy or a conversion that lacks a field leaves it empty.
package testfill

import (
	"iter"
	"reflect"
	"slices"
	"testing"
	"time"
)

// Fill sets the variable that target points to, and every exported field in it, to values that are not empty. Two numbers, 1 and 2, give
// values that differ in every field. Pointers are allocated, and a list gets one element.
func Fill(t testing.TB, target any, number int) {
	t.Helper()
	fill(t, reflect.ValueOf(target).Elem(), number)
}

// stateTypes are the names of the types of states. Package service cannot be imported, because its tests use this package.
var stateTypes = []string{"HealthStatus", "health"}

func fill(t testing.TB, value reflect.Value, number int) {
	t.Helper()
	if value.Type() == reflect.TypeFor[time.Time]() {
		value.Set(reflect.ValueOf(time.Unix(int64(number), int64(number))))
		return
	}

	switch value.Kind() {
	case reflect.Pointer:
		value.Set(reflect.New(value.Type().Elem()))
		fill(t, value.Elem(), number)
	case reflect.Slice:
		value.Set(reflect.MakeSlice(value.Type(), 1, 1))
		fill(t, value.Index(0), number)
	case reflect.Map:
		key, element := reflect.New(value.Type().Key()).Elem(), reflect.New(value.Type().Elem()).Elem()
		fill(t, key, number)
		fill(t, element, number)
		value.Set(reflect.MakeMap(value.Type()))
		value.SetMapIndex(key, element)
	case reflect.Struct:
		for i := range value.NumField() {
			if value.Type().Field(i).IsExported() || value.Type().Field(i).Anonymous {
				fill(t, value.Field(i), number)
			}
		}
	default:
		fillScalar(t, value, number)
	}
}

func fillScalar(t testing.TB, value reflect.Value, number int) {
	t.Helper()
	switch {
	case value.Type() == reflect.TypeFor[time.Duration]():
		value.SetInt(int64(number) * int64(time.Second))
	case value.Kind() == reflect.String && slices.Contains(stateTypes, value.Type().Name()):
		value.SetString([]string{"healthy", "degraded"}[number-1])
	case value.Kind() == reflect.String:
		value.SetString([]string{"a", "b"}[number-1])
	case value.Kind() == reflect.Bool:
		value.SetBool(number == 1)

	case value.CanInt():
		value.SetInt(int64(number))
	case value.CanUint():
		value.SetUint(uint64(number))
	case value.CanFloat():
		value.SetFloat(float64(number))
	default:
		t.Fatalf("no value of type %v: add its kind to testfill", value.Type())
	}
}

// Fields yields the fields of the struct that target points to, with their paths. Instead of a struct, a
// pointer or a list it yields the fields in it. An empty pointer or list is a field itself. An embedded struct has no name in the path.
func Fields(target any) iter.Seq2[string, reflect.Value] {
	return func(yield func(string, reflect.Value) bool) {
		yieldFields("", reflect.ValueOf(target).Elem(), yield)
	}
}

// Empty returns the paths of the fields that are empty.
func Empty(target any) []string {
	var paths []string
	for path, field := range Fields(target) {
		if field.IsZero() {
			paths = append(paths, path)
		}
	}
	return paths
}

func yieldFields(path string, value reflect.Value, yield func(string, reflect.Value) bool) bool {
	for value.Kind() == reflect.Pointer && !value.IsNil() {
		value = value.Elem()
	}
	if value.Kind() == reflect.Slice && value.Len() > 0 {
		return yieldFields(path+"[]", value.Index(0), yield)
	}
	if value.Kind() != reflect.Struct || value.Type() == reflect.TypeFor[time.Time]() {
		return yield(path, value)
	}

	for i := range value.NumField() {
		field := value.Type().Field(i)
		if !field.IsExported() && !field.Anonymous {
			continue
		}
		inner := path
		if !field.Anonymous {
			if inner != "" {
				inner += "."
			}
			inner += field.Name
		}
		if !yieldFields(inner, value.Field(i), yield) {
			return false
		}
	}
	return true
}

// CheckConversions checks that each function makes a full value from a full one. exceptions are the paths of fields that stay empty, with
// the reason.
func CheckConversions(t *testing.T, functions map[string]any, exceptions map[string]string) {
	t.Helper()
	used := make(map[string]bool)
	for name, convert := range functions {
		function := reflect.ValueOf(convert)
		in := reflect.New(function.Type().In(0))
		Fill(t, in.Interface(), 1)
		result := reflect.ValueOf(function.Call([]reflect.Value{in.Elem()})[0].Interface())
		out := reflect.New(result.Type())
		out.Elem().Set(result)

		for _, path := range Empty(out.Interface()) {
			used[path] = true
			if exceptions[path] == "" {
				t.Errorf("%s leaves %s empty: copy the field", name, path)
			}
		}
	}

	for path := range exceptions {
		if !used[path] {
			t.Errorf("no conversion leaves %s empty: remove it from the exceptions", path)
		}
	}
}
