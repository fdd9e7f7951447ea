package e2e

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// openAPIExamples has a valid value of each property of a body.
var openAPIExamples = map[string]any{
	"region":                "eu-west-1",
	"grpc_endpoint":         "http://mc.example:50052",
	"webtransport_endpoint": "https://mc.example:4433",
	"max_meetings":          100,
	"max_participants":      1000,
	"incarnation":           "boot-1",
	"capacity":              map[string]any{"current_meetings": 1, "current_participants": 2},
	"health":                "healthy",
	"cpu_usage_percent":     1.5,
	"memory_usage_percent":  2.5,
	"reason":                "kernel",
	"deadline":              "2031-01-02T15:04:05Z",
	"dry_run":               true,
	"force":                 true,
	"assume_drained":        []string{},
	"expected_participants": 7,
	"org_id":                "org-1",
	"series_id":             "series-1",
	"require_labels":        map[string]string{},
	"prefer_labels":         map[string]string{"zone": "a"},
	"exclude_controllers":   []string{"mc-9"},
	"spill_regions":         []string{"us-east-1"},
}

// openAPIDocument is the part of the OpenAPI document about bodies.
type openAPIDocument struct {
	Paths map[string]map[string]openAPIOperation `json:"paths"`
}

type openAPIOperation struct {
	OperationID string `json:"operationId"`
	RequestBody *struct {
		Content map[string]struct {
			Schema openAPISchema `json:"schema"`
		} `json:"content"`
	} `json:"requestBody"`
}

type openAPISchema struct {
	Properties map[string]any `json:"properties"`
	Required   []string       `json:"required"`
}

// TestOpenAPI_RequiredProperties sends every body that the document describes: with all properties, with the required ones only,
// and without each of them. The server must accept exactly those with all required properties.
func TestOpenAPI_RequiredProperties(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, sqliteURL(t), nil).waitReady()
	env.registerHealthy("mc-1", "mc-2", "mc-3", "mc-4")
	var document openAPIDocument
	env.get("/openapi.json", "").decode(t, &document)

	parameters := strings.NewReplacer("{id}", "mc-1", "{meeting_id}", "m-1", "{region}", "eu-west-1")
	tried := 0
	for pattern, methods := range document.Paths {
		for method, operation := range methods {
			if operation.RequestBody == nil {
				continue
			}

			schema := operation.RequestBody.Content["application/json"].Schema
			env.checkRequired(strings.ToUpper(method), parameters.Replace(pattern), operation.OperationID, schema)
			tried += len(schema.Properties)
		}
	}
	if tried < 15 {
		t.Errorf("%d properties tried: the document describes too few", tried)
	}
}

// generation reads the generation of the controller that a path is about. Each accepted drain increases it.
func (env *environment) generation(path string) int64 {
	env.t.Helper()
	var controller struct{ Generation int64 }
	env.get(strings.TrimSuffix(path, "/drain"), env.adminToken()).decode(env.t, &controller)
	return controller.Generation
}

// checkRequired checks which bodies of an operation are accepted.
func (env *environment) checkRequired(method, path, operation string, schema openAPISchema) {
	env.t.Helper()
	token := env.issuer.token(nil, nil)
	if operation == "Drain" || operation == "AssignMeeting" {
		token = env.adminToken()
	}

	accepts := func(names []string) (bool, string) {
		env.t.Helper()
		body := make(map[string]any)
		for _, name := range names {
			if name == "expected_generation" {
				body[name] = env.generation(path)
				continue
			}
			example, ok := openAPIExamples[name]
			if !ok {
				env.t.Fatalf("openAPIExamples lacks a valid %s", name)
			}
			body[name] = example
		}

		text, err := json.Marshal(body)
		if err != nil {
			env.t.Fatal(err)
		}

		got := env.request(method, path, string(text), bearer(token))
		if got.status != http.StatusOK && got.status != http.StatusBadRequest {
			env.t.Errorf("%s %s = %v, want 200 or 400", operation, text, got)
		}
		return got.status == http.StatusOK, got.body
	}

	all := slices.Sorted(maps.Keys(schema.Properties))
	if ok, body := accepts(all); !ok {
		env.t.Errorf("%s with all properties is refused: %s", operation, body)
	}
	if ok, body := accepts(schema.Required); !ok {
		env.t.Errorf("%s with the required properties is refused: %s", operation, body)
	}

	for _, name := range all {
		isRequired := slices.Contains(schema.Required, name)
		others := slices.DeleteFunc(slices.Clone(all), func(other string) bool { return other == name })
		if ok, body := accepts(others); ok == isRequired {
			env.t.Errorf("%s without %s: accepted is %v, in the document required is %v: %s", operation, name, ok, isRequired, body)
		}
	}
}
