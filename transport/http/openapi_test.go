package httptransport

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestOpenAPI_BodyIsRequiredWhereTheHandlerRequiresIt compares the document with the response to a request without a body.
func TestOpenAPI_BodyIsRequiredWhereTheHandlerRequiresIt(t *testing.T) {
	h := newTestHandler(&fakeService{}, nil)
	var document struct {
		Servers []struct {
			URL string `json:"url"`
		} `json:"servers"`
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
			RequestBody *struct {
				Required bool `json:"required"`
			} `json:"requestBody"`
		} `json:"paths"`
	}

	if err := json.Unmarshal(call(h, "GET", "/openapi.json", "").Body.Bytes(), &document); err != nil {
		t.Fatal(err)
	}
	if len(document.Servers) != 1 || document.Servers[0].URL != "." {
		t.Errorf("servers = %+v, want one that is relative to the document", document.Servers)
	}

	bodies, optional := 0, 0
	for pattern, methods := range document.Paths {
		path := strings.NewReplacer("{id}", "mc-1", "{meeting_id}", "m-1", "{region}", "eu").Replace(pattern)
		for method, operation := range methods {
			if operation.RequestBody == nil {
				continue
			}
			bodies++
			if !operation.RequestBody.Required {
				optional++
			}
			// Without a body, and with an empty body of unknown length.
			for name, body := range map[string]io.Reader{"no body": http.NoBody, "an empty body": struct{ io.Reader }{strings.NewReader("")}} {
				r := httptest.NewRequest(strings.ToUpper(method), path, body)
				r.Header.Set("Content-Type", "application/json")
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				if refused := w.Code == http.StatusBadRequest; refused != operation.RequestBody.Required {
					t.Errorf("%s with %s = %d %s, but in the document required is %v",
						operation.OperationID, name, w.Code, w.Body, operation.RequestBody.Required)
				}
			}
		}
	}

	if bodies < 4 || optional < 1 {
		t.Errorf("%d operations with a body, %d of them optional: the test covers too few", bodies, optional)
	}
}
