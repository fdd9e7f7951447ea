// Package web serves the web page of the fleet. Its files are embedded in the binary, and its headers limit what a browser may do
// with them.
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

// policy is the Content-Security-Policy. The page runs and loads its own files only, and connects to its own server only. No other
// page may frame it, and no script may turn text into markup or code.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; " +
	"form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// contentTypes are by file extension. The types that the operating system knows differ between machines.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// Page is one file of the web page and its path.
type Page struct {
	// Pattern is a pattern of [http.ServeMux].
	Pattern string
	handler http.HandlerFunc
}

// ServeHTTP implements [http.Handler] for GET and HEAD. It sends 304 if the browser has the file already.
func (p Page) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.handler(w, r) }

// Pages returns all files of the page. Each has its own path, so that every other path stays unknown.
func Pages() []Page {
	names, _ := fs.Glob(content, "*") // The only possible error is an invalid pattern.

	pages := make([]Page, 0, len(names))
	for _, name := range names {
		data, _ := content.ReadFile(name) // The file is embedded.
		pattern := "/assets/" + name
		if name == "index.html" {
			pattern = "/{$}"
		}
		pages = append(pages, Page{Pattern: pattern, handler: serve(name, data)})
	}

	return pages
}

func serve(name string, data []byte) http.HandlerFunc {
	digest := sha256.Sum256(data)
	tag := `"` + base64.RawURLEncoding.EncodeToString(digest[:18]) + `"`

	return func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Type", contentTypes[path.Ext(name)])
		// The browser validates each file before it uses it, so that a page never mixes files of two versions.
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
