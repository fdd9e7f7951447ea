// Package web is the page that shows the fleet to people: a few files that the binary carries, and the headers that
// keep a browser from doing anything with them but that.
package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"io/fs"
	"net/http"
	"path"
	"time"
)

//go:embed index.html app.css icon.svg *.js
var content embed.FS

// policy lets the page run and load its own files only, speak to its own server only, and be framed by nobody. Nothing
// in it may turn text into markup or into code.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; " +
	"form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// contentTypes are spelled out: those that the machine knows may differ from place to place.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// Page is one file of the page, and where it is served.
type Page struct {
	// Pattern is a path as [http.ServeMux] reads it.
	Pattern string
	handler http.HandlerFunc
}

// ServeHTTP implements [http.Handler]. It answers GET and HEAD, and what a browser has already is not sent again.
func (p Page) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.handler(w, r) }

// Pages are all files of the page, each with a path of its own, so that any other path stays unknown.
func Pages() []Page {
	names, _ := fs.Glob(content, "*") // Its one error is a pattern that cannot be read.
	pages := make([]Page, 0, len(names))
	for _, name := range names {
		data, _ := content.ReadFile(name) // It is in the binary.
		pattern := "/assets/" + name
		if name == "index.html" {
			pattern = "/{$}"
		}
		pages = append(pages, Page{pattern, serve(name, data)})
	}
	return pages
}

func serve(name string, data []byte) http.HandlerFunc {
	digest := sha256.Sum256(data)
	tag := `"` + base64.RawURLEncoding.EncodeToString(digest[:18]) + `"`
	return func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Type", contentTypes[path.Ext(name)])
		// A browser asks each time whether the file is still the same: after an update no half of the old page is left.
		header.Set("Cache-Control", "no-cache")
		header.Set("Etag", tag)
		header.Set("Content-Security-Policy", policy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(data))
	}
}
