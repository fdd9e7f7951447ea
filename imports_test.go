// Package globalcontroller_test has the rules for the whole module.
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

// listedPackage is a package in the output of go list. Imports has the imports of product code; tests may import more.
type listedPackage struct {
	ImportPath string
	Imports    []string
	Standard   bool
	GoFiles    []string
}

func listPackages(t *testing.T, args ...string) []listedPackage {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", append([]string{"list", "-json=ImportPath,Imports,Standard,GoFiles"}, args...)...).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}

	var packages []listedPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listedPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		packages = append(packages, p)
	}
}

// isUnder reports whether path is one of the roots or below one. A root that begins with "./" is relative to this module.
func isUnder(path string, roots ...string) bool {
	return slices.ContainsFunc(roots, func(root string) bool {
		if relative, ok := strings.CutPrefix(root, "./"); ok {
			root = module + "/" + relative
		}
		return path == root || strings.HasPrefix(path, root+"/")
	})
}

// importRule forbids a part of the module to import some packages.
type importRule struct {
	name   string
	reason string
	// packages has the packages that the rule applies to, without those in except.
	packages []string
	except   []string
	// forbidden has the packages that they must not import.
	forbidden []string
}

func importRules() []importRule {
	databases := []string{"github.com/jmoiron/sqlx", "github.com/lib/pq", "modernc.org/sqlite", "github.com/pressly/goose"}
	// programs combine the parts.
	programs := []string{"./internal/daemon", "./internal/devstack", "./internal/fleetsim", "./internal/operatorcli"}

	return []importRule{
		{
			name:      "the service",
			reason:    "the domain must be readable, and testable, without any technology",
			packages:  []string{"./service"},
			forbidden: []string{"./cmd", "./endpoints", "./internal", "./migrations", "./pkg", "./proto", "./transport"},
		},
		{
			name:     "the endpoints",
			reason:   "an endpoint serves every transport and every store alike",
			packages: []string{"./endpoints"},
			forbidden: []string{
				"./transport", "./pkg", "./proto", "./internal", "google.golang.org", "net/http", "database/sql", "github.com/prometheus",
			},
		},
		{
			name:      "the transports",
			reason:    "a transport only converts messages; it must not depend on the store",
			packages:  []string{"./transport"},
			forbidden: append([]string{"./pkg", "./internal", "./migrations", "database/sql"}, databases...),
		},
		{
			name:      "the client",
			reason:    "a meeting controller that uses it must not include the server",
			packages:  []string{"./pkg/client"},
			forbidden: []string{"./service", "./endpoints", "./transport", "./migrations", "./internal"},
		},
		{
			name:      "everything but the store",
			reason:    "all SQL is in the store",
			packages:  []string{"./"},
			except:    []string{"./pkg/store", "./internal/fleetsim", "./internal/pgserver", "./internal/testpg", "./migrations"},
			forbidden: databases,
		},
		{
			name:      "everything but the tracing",
			reason:    "OpenTelemetry changes often, and a controller must not include it",
			packages:  []string{"./"},
			except:    []string{"./pkg/tracing"},
			forbidden: []string{"go.opentelemetry.io"},
		},
		{
			name:      "everything but the programs",
			reason:    "programs combine the parts, so no part may depend on one",
			packages:  []string{"./"},
			except:    append([]string{"./cmd"}, programs...),
			forbidden: append([]string{"./cmd"}, programs...),
		},
		{
			name:      "everything but the commands",
			reason:    "a command has only a main function",
			packages:  []string{"./"},
			except:    []string{"./cmd"},
			forbidden: []string{"./cmd", "./internal/operatorcli"},
		},
		{
			name:      "the daemon",
			reason:    "the server does not depend on the tools around it",
			packages:  []string{"./internal/daemon"},
			forbidden: []string{"./internal/devstack", "./internal/fleetsim", "./internal/operatorcli"},
		},
		{
			name:      "everything",
			reason:    "metrics are registered with the registry that is passed in, never with the global one",
			packages:  []string{"./"},
			forbidden: []string{"github.com/prometheus/client_golang/prometheus/promauto"},
		},
	}
}

// TestImports_PointOneWay checks cmd → internal → transport → endpoints → service, and pkg → service.
func TestImports_PointOneWay(t *testing.T) {
	t.Parallel()
	packages := listPackages(t, "./...")
	if len(packages) < 15 {
		t.Fatalf("go list found %d packages, want all of them", len(packages))
	}

	for _, rule := range importRules() {
		for _, p := range packages {
			if !inModule(p.ImportPath, rule.packages) || isUnder(p.ImportPath, rule.except...) {
				continue
			}
			for _, imported := range p.Imports {
				if imported != p.ImportPath && inModule(imported, rule.forbidden) {
					t.Errorf("%s imports %s; %s must not: %s", p.ImportPath, imported, rule.name, rule.reason)
				}
			}
		}
	}

	for _, p := range packages {
		own := pkgOf(p.ImportPath)
		for _, imported := range p.Imports {
			if other := pkgOf(imported); own != "" && other != "" && own != other {
				t.Errorf("%s imports %s; packages below pkg must not import each other: each could be moved to another module", p.ImportPath, imported)
			}
		}
	}
}

// inModule reports whether path is below one of the roots; "./" is the whole module.
func inModule(path string, roots []string) bool {
	return slices.Contains(roots, "./") && isUnder(path, module) || isUnder(path, roots...)
}

// pkgOf returns the folder below pkg that a package belongs to, empty for other packages.
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
	for _, p := range listPackages(t, "-deps", "./service") {
		if !p.Standard && !isUnder(p.ImportPath, "./service") {
			t.Errorf("service depends on %s, want the standard library only", p.ImportPath)
		}
	}
}

// TestImports_FromOtherModules builds another module that imports the protocol and the client. Go refuses imports of packages below a
// folder named internal.
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
