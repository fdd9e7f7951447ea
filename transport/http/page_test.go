package httptransport

import (
	"strings"
	"testing"
)

func TestHandler_ServesWebPage(t *testing.T) {
	h := newTestHandler(&fakeService{}, nil)
	tests := []struct {
		method, path string
		status       int
		contentType  string
	}{
		{"GET", "/", 200, "text/html; charset=utf-8"},
		{"HEAD", "/", 200, "text/html; charset=utf-8"},
		{"GET", "/assets/main.js", 200, "text/javascript; charset=utf-8"},
		{"POST", "/", 405, "application/json"},
		{"GET", "/assets/", 404, "application/json"},
		{"GET", "/assets/main.jsx", 404, "application/json"},
		{"GET", "/assets/web.go", 404, "application/json"},
		{"GET", "/index.html", 404, "application/json"},
	}

	for _, tc := range tests {
		w := call(h, tc.method, tc.path, "")
		if got := w.Header().Get("Content-Type"); w.Code != tc.status || got != tc.contentType {
			t.Errorf("%s %s = %d %s, want %d %s", tc.method, tc.path, w.Code, got, tc.status, tc.contentType)
		}
	}

	if w := call(h, "GET", "/openapi.json", ""); strings.Contains(w.Body.String(), "/assets/") {
		t.Error("the document describes the page's files, want the API only")
	}
}
