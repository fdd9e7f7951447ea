package e2e

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestOpenAPI_RequiredProperties sends every body that the document describes: whole, with only
// what is required, and without each of its properties.
func TestOpenAPI_RequiredProperties(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, sqliteURL(t), nil).waitReady()
	env.registerHealthy("mc-1", "mc-2", "mc-3", "mc-4")

	examples := map[string]any{
		"region": "eu-west-1", "grpc_endpoint": "http://mc.example:50052", "webtransport_endpoint": "https://mc.example:4433", "max_meetings": 100,
		"max_participants": 1000, "incarnation": "boot-1", "capacity": map[string]any{"current_meetings": 1, "current_participants": 2}, "health": "healthy",
		"cpu_usage_percent": 1.5, "memory_usage_percent": 2.5, "reason": "kernel", "deadline": "2031-01-02T15:04:05Z", "dry_run": true, "force": true,
		"assume_drained": []string{},
	}

	var document struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
			RequestBody *struct {
				Content map[string]struct {
					Schema struct {
						Properties map[string]any `json:"properties"`
						Required   []string       `json:"required"`
					} `json:"schema"`
				} `json:"content"`
			} `json:"requestBody"`
		} `json:"paths"`
	}

	env.get("/openapi.json", "").decode(t, &document)
	tried := 0

	for pattern, methods := range document.Paths {
		for method, operation := range methods {
			if operation.RequestBody == nil {
				continue
			}
			schema := operation.RequestBody.Content["application/json"].Schema
			token := env.adminToken()
			if operation.OperationID != "Drain" {
				token = env.issuer.token(nil, nil)
			}

			accepts := func(names ...string) (bool, string) {
				t.Helper()
				body := make(map[string]any)
				for _, name := range names {
					if example, known := examples[name]; known {
						body[name] = example
					}
				}

				text, err := json.Marshal(body)
				if err != nil {
					t.Fatal(err)
				}
				got := env.request(strings.ToUpper(method), strings.ReplaceAll(pattern, "{id}", "mc-1"), string(text), bearer(token))
				if got.status != http.StatusOK && got.status != http.StatusBadRequest {
					t.Errorf("%s %s = %d %s, want 200 or 400", operation.OperationID, text, got.status, got.body)
				}

				return got.status == http.StatusOK, got.body
			}

			all := slices.Sorted(maps.Keys(schema.Properties))
			for what, names := range map[string][]string{"all properties": all, "the required ones": schema.Required} {
				if ok, body := accepts(names...); !ok {
					t.Errorf("%s with %s is refused: %s", operation.OperationID, what, body)
				}
			}

			for _, name := range all {
				tried++
				others := slices.DeleteFunc(slices.Clone(all), func(other string) bool { return other == name })
				if ok, body := accepts(others...); ok == slices.Contains(schema.Required, name) {
					t.Errorf("%s without %s: accepted is %v, and in the document required is %v: %s", operation.OperationID, name, ok, slices.Contains(schema.Required, name), body)
				}
			}
		}
	}

	if tried < 15 {
		t.Errorf("%d properties tried: the document describes too few", tried)
	}
}
