package httptransport

import (
	"encoding/json"
	"maps"
	"math"
	"net/http/httptest"
	"reflect"
	"slices"
	"testing"

	"darktower.example/global-controller/endpoints"
	"darktower.example/global-controller/internal/testfill"
)

// TestOpenAPI_SchemasMatchResponses encodes a full body of each route and compares it with the schema in the document.
func TestOpenAPI_SchemasMatchResponses(t *testing.T) {
	t.Parallel()
	for _, r := range append(apiRoutes(endpoints.Endpoints{}), watchRoute(endpoints.Endpoints{}, Config{})) {
		body := reflect.New(reflect.TypeOf(r.response))
		testfill.Fill(t, body.Interface(), 1)
		w := httptest.NewRecorder()
		writeJSON(w, 200, body.Interface())

		var response any
		if err := json.Unmarshal(w.Body.Bytes(), &response); err != nil {
			t.Fatalf("%s: %v", r.operation, err)
		}
		checkSchema(t, r.operation, response, schemaOf(body.Type().Elem()))
	}
}

// checkSchema checks that a JSON value has the type and exactly the properties that the schema describes.
func checkSchema(t *testing.T, path string, value any, schema object) {
	t.Helper()
	types, isNullable := schema["type"].([]string)
	if !isNullable {
		types = []string{schema["type"].(string)}
	}
	if got := jsonType(value); !slices.Contains(types, got) && (got != "integer" || !slices.Contains(types, "number")) {
		t.Errorf("%s is of type %s, in the document of %q", path, got, types)
		return
	}

	switch v := value.(type) {
	case []any:
		for _, element := range v {
			checkSchema(t, path+"[]", element, schema["items"].(object))
		}
	case map[string]any:
		properties := schema["properties"].(object)
		got, want := slices.Sorted(maps.Keys(v)), slices.Sorted(maps.Keys(properties))
		if !slices.Equal(got, want) {
			t.Errorf("%s has the properties %q, in the document %q", path, got, want)
			return
		}
		for name, member := range v {
			checkSchema(t, path+"."+name, member, properties[name].(object))
		}
	}
}

func jsonType(value any) string {
	switch v := value.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case float64:
		if v == math.Trunc(v) {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	default:
		return "object"
	}
}
