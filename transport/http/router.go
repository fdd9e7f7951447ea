package httptransport

import (
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"

	"darktower.example/global-controller/endpoints"
	"darktower.example/global-controller/transport"
)

// newRouter returns the router of the routes. Its errors have the same form as all other errors.
func newRouter(routes []route, onUnknown func(address, what string)) http.Handler {
	mux := http.NewServeMux()
	methods := make(map[string]map[string]http.Handler)
	for _, r := range routes {
		if methods[r.pattern] == nil {
			methods[r.pattern] = make(map[string]http.Handler)
		}
		methods[r.pattern][r.method] = r.handler
	}
	for pattern, byMethod := range methods {
		mux.Handle(pattern, methodHandler(byMethod))
	}

	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The mux would respond to an unclean path with a redirect in HTML.
		_, pattern := mux.Handler(r)
		if pattern == "" || path.Clean(r.URL.Path) != r.URL.Path {
			if onUnknown != nil {
				onUnknown(endpoints.CallFrom(r.Context()).Address, r.Method+" "+r.URL.Path)
			}
			writeErrorBody(w, http.StatusNotFound, transport.CodeNotFound, "No such path; see /openapi.json")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// methodHandler serves one path. HEAD is served by the handler of GET.
func methodHandler(byMethod map[string]http.Handler) http.HandlerFunc {
	allowed := slices.Collect(maps.Keys(byMethod))
	if _, ok := byMethod[http.MethodGet]; ok {
		allowed = append(allowed, http.MethodHead)
	}
	slices.Sort(allowed)
	allow := strings.Join(allowed, ", ")

	return func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		handler, ok := byMethod[method]
		if !ok {
			w.Header().Set("Allow", allow)
			writeErrorBody(w, http.StatusMethodNotAllowed, transport.CodeBadRequest, "Method not allowed; use "+allow)
			return
		}
		handler.ServeHTTP(w, r)
	}
}
