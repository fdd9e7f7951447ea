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

// under reports whether path is one of the roots or below one. A root that begins with "./" is relative to this module.
func under(path string, roots ...string) bool {
	return slices.ContainsFunc(roots, func(root string) bool {
		if ours, ok := strings.CutPrefix(root, "./"); ok {
			root = module + "/" + ours
		}
		return path == root || strings.HasPrefix(path, root+"/")
	})
}

// importRule forbids imports to a part of the module.
type importRule struct {
	name   string
	reason string
	// of has the packages that the rule is for, except those that it is not for.
	of     []string
	except []string
	// never has what they must not import.
	never []string
}

func importRules() []importRule {
	databases := []string{"github.com/jmoiron/sqlx", "github.com/lib/pq", "modernc.org/sqlite", "github.com/pressly/goose"}
	// programs put the parts together.
	programs := []string{"./internal/daemon", "./internal/devstack", "./internal/fleetsim", "./internal/operatorcli"}

	return []importRule{
		{
			name:   "the service",
			reason: "the domain must be readable, and testable, without any technology",
			of:     []string{"./service"},
			never:  []string{"./"},
		},
		{
			name:   "the endpoints",
			reason: "an endpoint serves every transport and every store alike",
			of:     []string{"./endpoints"},
			never: []string{
				"./transport", "./pkg", "./proto", "./internal", "google.golang.org", "net/http", "database/sql", "github.com/prometheus",
			},
		},
		{
			name:   "the transports",
			reason: "a transport translates; what is stored is not its business",
			of:     []string{"./transport"},
			never:  append([]string{"./pkg", "./internal", "./migrations", "database/sql"}, databases...),
		},
		{
			name:   "the client",
			reason: "a meeting controller that is built with it must not carry the server",
			of:     []string{"./pkg/client"},
			never:  []string{"./service", "./endpoints", "./transport", "./migrations", "./internal"},
		},
		{
			name:   "everything but the store",
			reason: "SQL has one place",
			of:     []string{"./"},
			except: []string{"./pkg/store", "./internal/fleetsim", "./internal/pgserver", "./internal/testpg", "./migrations"},
			never:  databases,
		},
		{
			name:   "everything but the tracing",
			reason: "OpenTelemetry changes often, and a controller must not carry it",
			of:     []string{"./"},
			except: []string{"./pkg/tracing"},
			never:  []string{"go.opentelemetry.io"},
		},
		{
			name:   "everything but the programs",
			reason: "a program is where the parts are put together, so no part can need one",
			of:     []string{"./"},
			except: append([]string{"./cmd"}, programs...),
			never:  append([]string{"./cmd"}, programs...),
		},
		{
			name:   "everything but the commands",
			reason: "a command is a main function only",
			of:     []string{"./"},
			except: []string{"./cmd"},
			never:  []string{"./cmd", "./internal/operatorcli"},
		},
		{
			name:   "the daemon",
			reason: "the server knows none of the tools that are built around it",
			of:     []string{"./internal/daemon"},
			never:  []string{"./internal/devstack", "./internal/fleetsim", "./internal/operatorcli"},
		},
		{
			name:   "everything",
			reason: "metrics belong to a registry that is passed in, never to the global one",
			of:     []string{"./"},
			never:  []string{"github.com/prometheus/client_golang/prometheus/promauto"},
		},
	}
}

// TestImports_PointOneWay checks cmd → internal → transport → endpoints → service, and pkg → service.
func TestImports_PointOneWay(t *testing.T) {
	t.Parallel()
	packages := list(t, "./...")
	if len(packages) < 15 {
		t.Fatalf("go list found %d packages, want all of them", len(packages))
	}

	for _, rule := range importRules() {
		for _, p := range packages {
			if !inModule(p.ImportPath, rule.of) || under(p.ImportPath, rule.except...) {
				continue
			}
			for _, imported := range p.Imports {
				if imported != p.ImportPath && inModule(imported, rule.never) {
					t.Errorf("%s imports %s; %s must not: %s", p.ImportPath, imported, rule.name, rule.reason)
				}
			}
		}
	}

	for _, p := range packages {
		own := pkgOf(p.ImportPath)
		for _, imported := range p.Imports {
			if other := pkgOf(imported); own != "" && other != "" && own != other {
				t.Errorf("%s imports %s; packages below pkg do not import each other: each could live elsewhere", p.ImportPath, imported)
			}
		}
	}
}

// inModule reports whether path is below one of the roots; "./" is the whole module.
func inModule(path string, roots []string) bool {
	return slices.Contains(roots, "./") && under(path, module) || under(path, roots...)
}

// pkgOf names the part of pkg that a package belongs to, "" when it is none.
func pkgOf(path string) string {
	rest, ok := strings.CutPrefix(path, module+"/pkg/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}

func TestImports_ServiceNeedsStandardLibraryOnly(t *testing.T) {
	t.Parallel()
	for _, p := range list(t, "-deps", "./service") {
		if !p.Standard && p.ImportPath != module+"/service" {
			t.Errorf("service depends on %s, want the standard library only", p.ImportPath)
		}
	}
}

// TestImports_FromOtherModules builds another module that imports the protocol and the client. Go refuses that for packages
// below a folder named internal.
func TestImports_FromOtherModules(t *testing.T) {
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
	text := strings.Replace(string(goMod), "module "+module, "module other.example/mc", 1)
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
		t.Errorf("another module cannot import the protocol or the client: %v\n%s", err, out)
	}
}
