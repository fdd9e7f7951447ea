package web

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"darktower.example/global-controller/service"
)

func get(t *testing.T, method, path string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	mux := http.NewServeMux()
	for _, p := range Pages() {
		mux.Handle(p.Pattern, p)
	}
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return w
}

func TestPages_ContentTypesAndHeaders(t *testing.T) {
	want := map[string]string{
		"Cache-Control":              "no-cache",
		"X-Content-Type-Options":     "nosniff",
		"Referrer-Policy":            "no-referrer",
		"Cross-Origin-Opener-Policy": "same-origin",
		"Content-Security-Policy":    policy,
	}
	types := map[string]string{
		"/":                "text/html; charset=utf-8",
		"/assets/app.css":  "text/css; charset=utf-8",
		"/assets/main.js":  "text/javascript; charset=utf-8",
		"/assets/icon.svg": "image/svg+xml",
	}

	for _, p := range Pages() {
		path := strings.TrimSuffix(p.Pattern, "{$}")
		w := get(t, http.MethodGet, path)
		if w.Code != http.StatusOK || w.Body.Len() == 0 {
			t.Errorf("GET %s = %d with %d bytes, want 200 and the file", path, w.Code, w.Body.Len())
		}

		for name, value := range want {
			if got := w.Header().Get(name); got != value {
				t.Errorf("GET %s: %s is %q, want %q", path, name, got, value)
			}
		}
		if got := w.Header().Get("Content-Type"); types[path] != "" && got != types[path] || got == "" {
			t.Errorf("GET %s: Content-Type is %q, want %q", path, got, types[path])
		}

		head := get(t, http.MethodHead, path)
		if head.Code != http.StatusOK || head.Body.Len() != 0 || head.Header().Get("Content-Length") == "" {
			t.Errorf("HEAD %s = %d with %d bytes, want 200 and none", path, head.Code, head.Body.Len())
		}
		if again := get(t, http.MethodGet, path, "If-None-Match", w.Header().Get("Etag")); again.Code != http.StatusNotModified {
			t.Errorf("GET %s with its tag = %d, want 304", path, again.Code)
		}
	}

	for path := range types {
		if w := get(t, http.MethodGet, path); w.Code != http.StatusOK {
			t.Errorf("GET %s = %d, want 200", path, w.Code)
		}
	}
}

// TestPages_UseNoOtherHost checks that no file fetches from another host, and that no script turns text into markup or code.
func TestPages_UseNoOtherHost(t *testing.T) {
	address := regexp.MustCompile(`(?i)(https?:)?//[a-z0-9-]+\.[a-z]`)
	forbidden := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|` +
		`localStorage|sessionStorage|indexedDB|document\.cookie`)
	inline := regexp.MustCompile(`(?i)<style|\sstyle=|\son\w+=|<script>|javascript:`)

	total := 0
	err := fs.WalkDir(content, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := content.ReadFile(name)
		total += len(data)

		text := strings.ReplaceAll(string(data), "http://www.w3.org/2000/svg", "")
		if found := address.FindString(text); found != "" {
			t.Errorf("%s names another host: %q", name, found)
		}
		if found := forbidden.FindString(text); found != "" {
			t.Errorf("%s uses %s: set text as text, and store nothing", name, found)
		}
		if found := inline.FindString(text); strings.HasSuffix(name, ".html") && found != "" {
			t.Errorf("%s has %q, which the policy forbids", name, found)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}

	// An operator opens the page over a slow connection during an incident: 128 KiB take 1 s at 1 Mbit/s.
	if total > 128<<10 {
		t.Errorf("the page has %d bytes, want at most 128 KiB", total)
	}
}

// TestIndex_NamesEveryModule: the browser loads the modules that the index names at once, and others one after the other.
func TestIndex_NamesEveryModule(t *testing.T) {
	index, err := content.ReadFile("index.html")
	if err != nil {
		t.Fatal(err)
	}
	names, err := fs.Glob(content, "*.js")
	if err != nil {
		t.Fatal(err)
	}

	for _, name := range names {
		if !strings.Contains(string(index), `"assets/`+name+`"`) {
			t.Errorf("index.html does not name %s", name)
		}
	}

	for _, match := range regexp.MustCompile(`"assets/([\w.]+)`).FindAllStringSubmatch(string(index), -1) {
		if _, err := content.Open(match[1]); err != nil {
			t.Errorf("index.html names %s, which does not exist", match[1])
		}
	}
}

// TestPages_UseRelativeAddresses: if a proxy serves the page below a prefix, an address that begins with "/" is outside of it.
func TestPages_UseRelativeAddresses(t *testing.T) {
	absolute := regexp.MustCompile("(?:href|src)=\"/|[\"'`(]/(?:api|assets|metrics|ready|health|sd|openapi)|url\\(/")
	names, err := fs.Glob(content, "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		data, err := content.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if found := absolute.FindString(string(data)); found != "" {
			t.Errorf("%s has an absolute address: %s", name, found)
		}
	}
}

// TestTimelineModule_RetiredReasonMatchesService: the page detects a retirement by the beginning of its reason.
func TestTimelineModule_RetiredReasonMatchesService(t *testing.T) {
	text, err := content.ReadFile("timeline.js")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `"`+service.RetiredReason+`"`) {
		t.Errorf("timeline.js does not have %q", service.RetiredReason)
	}
}

// TestFleetModule_ReasonsMatchService: a load event comes without reasons, so the page has a copy of two of the service's texts.
func TestFleetModule_ReasonsMatchService(t *testing.T) {
	text, err := content.ReadFile("fleet.js")
	if err != nil {
		t.Fatal(err)
	}
	full := service.Controller{Health: service.HealthHealthy}.Eligibility()
	if len(full.Reasons) != 2 {
		t.Fatalf("a full controller has the reasons %q, want two", full.Reasons)
	}

	for _, reason := range full.Reasons {
		if !strings.Contains(string(text), `"`+reason+`"`) {
			t.Errorf("fleet.js does not have %q", reason)
		}
	}
}
