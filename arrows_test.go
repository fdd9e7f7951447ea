// Package globalcontroller_test holds the rules that span the whole module.
package globalcontroller_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "darktower.example/global-controller"

// listed is what go list says of a package. Imports are those of the product; tests may reach further.
type listed struct {
	ImportPath string
	Imports    []string
	Standard   bool
	GoFiles    []string
}

func list(t *testing.T, args ...string) []listed {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", append([]string{"list", "-json=ImportPath,Imports,Standard,GoFiles"}, args...)...).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []listed
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		packages = append(packages, p)
	}
}

// under tells whether path is one of the roots or below one; a root that begins with "./" is one of ours.
func under(path string, roots ...string) bool {
	return slices.ContainsFunc(roots, func(root string) bool {
		if ours, ok := strings.CutPrefix(root, "./"); ok {
			root = module + "/" + ours
		}
		return path == root || strings.HasPrefix(path, root+"/")
	})
}

// TestImportsPointOneWay holds cmd → transport → endpoints → service, and pkg/store → service, migrations.
func TestImportsPointOneWay(t *testing.T) {
	t.Parallel()
	databases := []string{"github.com/jmoiron/sqlx", "github.com/lib/pq", "modernc.org/sqlite", "github.com/pressly/goose"}
	rules := []struct {
		name, reason string
		of           []string
		except       []string
		never        []string
	}{
		{"the service", "the domain must be readable, and testable, without any technology", []string{"./service"}, nil, []string{"./"}},
		{
			"the endpoints", "an endpoint serves every transport and every store alike",
			[]string{"./endpoints"},
			nil,
			[]string{"./transport", "./pkg", "./proto", "./cmd", "google.golang.org", "net/http", "database/sql", "github.com/prometheus"},
		},
		{
			"the transports", "a transport translates; what is stored is not its business",
			[]string{"./transport"},
			nil,
			append([]string{"./pkg", "./cmd", "./migrations", "database/sql"}, databases...),
		},
		{
			"the client", "a meeting controller that is built with it must not carry the server",
			[]string{"./pkg/client"},
			nil,
			[]string{"./service", "./endpoints", "./transport", "./cmd", "./migrations", "./internal"},
		},
		{"everything but the store", "SQL is spoken in one place", []string{"./"}, []string{"./pkg/store", "./cmd", "./internal/pgserver", "./internal/testpg", "./migrations"}, databases},
		{"everything but the tracing", "OpenTelemetry changes often, and a controller must not carry it", []string{"./"}, []string{"./pkg/tracing"}, []string{"go.opentelemetry.io"}},
		{"everything but cmd", "cmd is where the parts are put together, so nothing can need it", []string{"./"}, []string{"./cmd"}, []string{"./cmd"}},
		{"everything", "metrics belong to a registry that is passed in, never to the global one", []string{"./"}, nil, []string{"github.com/prometheus/client_golang/prometheus/promauto"}},
	}
	packages := list(t, "./...")
	if len(packages) < 15 {
		t.Fatalf("go list found %d packages, want all of them", len(packages))
	}
	for _, rule := range rules {
		for _, p := range packages {
			if !inModule(p.ImportPath, rule.of) || under(p.ImportPath, rule.except...) {
				continue
			}
			for _, imported := range p.Imports {
				if imported != p.ImportPath && inModuleOrUnder(imported, rule.never) {
					t.Errorf("%s imports %s; %s must not: %s", p.ImportPath, imported, rule.name, rule.reason)
				}
			}
		}
	}
	for _, p := range packages {
		own := pkgOf(p.ImportPath)
		for _, imported := range p.Imports {
			if other := pkgOf(imported); own != "" && other != "" && own != other {
				t.Errorf("%s imports %s; parts in pkg know nothing of each other: each could live elsewhere", p.ImportPath, imported)
			}
		}
	}
}

func inModule(path string, roots []string) bool {
	return slices.Contains(roots, "./") && under(path, module) || under(path, roots...)
}

func inModuleOrUnder(path string, roots []string) bool { return inModule(path, roots) }

// pkgOf names the part of pkg that a package belongs to, "" when it is none.
func pkgOf(path string) string {
	rest, ok := strings.CutPrefix(path, module+"/pkg/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}

func TestTheServiceNeedsTheStandardLibraryOnly(t *testing.T) {
	t.Parallel()
	for _, p := range list(t, "-deps", "./service") {
		if !p.Standard && p.ImportPath != module+"/service" {
			t.Errorf("service depends on %s, want the standard library only", p.ImportPath)
		}
	}
}

// TestOtherModulesCanImportTheProtocolAndTheClient builds a module of a stranger's: Go lets nobody import from below a folder
// named internal.
func TestOtherModulesCanImportTheProtocolAndTheClient(t *testing.T) {
	t.Parallel()
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	goMod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	goSum, err := os.ReadFile("go.sum")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	text := strings.Replace(string(goMod), "module "+module, "module stranger.example/mc", 1)
	files := map[string]string{
		"go.mod": text + "\nrequire " + module + " v0.0.0\nreplace " + module + " => " + here + "\n",
		"go.sum": string(goSum),
		"main.go": `package main

import (
	_ "` + module + `/pkg/client"
	_ "` + module + `/proto/darktower"
	_ "` + module + `/proto/darktower/v1"
	_ "` + module + `/proto/globalcontroller/v1"
)

func main() {}
`,
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-mod=mod", "-o", os.DevNull, ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "GOFLAGS=", "GOPROXY=off", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Errorf("a module of somebody else cannot import the protocol or the client: %v\n%s", err, out)
	}
}
