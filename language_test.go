package globalcontroller_test

import (
	"bufio"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The limits of CONTRIBUTING's section on language.
const (
	maxProductLines = 300 // of a file
	maxTestLines    = 500
	maxDenseLines   = 25 // of a function without a blank line
)

// avoidedWords are the words of the left column of docs/glossary.md that can be found by their spelling.
var avoidedWords = regexp.MustCompile(`(?i)\b(` + strings.Join([]string{
	`hear(d|s|ing)?`, `nobody('s)?`, `somebody('s)?`, `anybody('s)?`, `whoever`, `everybody('s)?`, `crowds?`, `mend(s|ed|ing)?`, `anew`,
	`tells? (whether|which|what)`, `of our own`, `as ever`, `all the same`, `in vain`, `unless set`, `signs? of life`,
	`(is|are|was|were|be) told`, `answer(s|ed)`, `falls? silent`, `fell silent`, `good ?bye`, `farewells?`,
}, "|") + `)\b`)

// skippedFiles are not read: generated code, recorded figures, and the page that explains the words.
var skippedFiles = regexp.MustCompile(`\.pb\.go$|go\.(mod|sum)$|\.(png|svg|binpb|pem|json)$|^docs/glossary|^language_test\.go$|^LICENSE$`)

// allowance permits a word in a file, for a reason.
type allowance struct {
	file, word, reason string
	isUsed             bool
}

// readAllowances reads docs/glossary-exceptions.txt, whose lines are FILE | WORD | REASON. FILE is a pattern of [filepath.Match].
func readAllowances(t *testing.T) (allowances []*allowance) {
	t.Helper()
	file, err := os.Open("docs/glossary-exceptions.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()

	lines := bufio.NewScanner(file)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(line, "|")
		if len(fields) != 3 || strings.TrimSpace(fields[2]) == "" {
			t.Fatalf("docs/glossary-exceptions.txt: want FILE | WORD | REASON, got %q", line)
		}
		allowances = append(allowances, &allowance{
			file:   strings.TrimSpace(fields[0]),
			word:   strings.ToLower(strings.TrimSpace(fields[1])),
			reason: strings.TrimSpace(fields[2]),
		})
	}
	return allowances
}

// repositoryFiles lists the files of the repository, also those that are not committed yet.
func repositoryFiles(t *testing.T) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "ls-files", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		t.Fatalf("git ls-files: %v: run the tests in a checkout, with git installed", err)
	}
	return strings.Fields(string(out))
}

// goFiles yields the names and texts of Go files without generated code.
func goFiles(t *testing.T) iter.Seq2[string, string] {
	t.Helper()
	return func(yield func(string, string) bool) {
		for _, name := range repositoryFiles(t) {
			if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, ".pb.go") {
				continue
			}
			text, err := os.ReadFile(name)
			if err != nil {
				continue // Deleted, and not yet committed.
			}
			if !yield(name, string(text)) {
				return
			}
		}
	}
}

func TestLanguage_AvoidedWords(t *testing.T) {
	t.Parallel()
	allowances := readAllowances(t)
	isAllowed := func(name, word string) bool {
		for _, a := range allowances {
			if matched, _ := filepath.Match(a.file, name); matched && a.word == strings.ToLower(word) {
				a.isUsed = true
				return true
			}
		}
		return false
	}

	for _, name := range repositoryFiles(t) {
		if skippedFiles.MatchString(name) {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			continue // Deleted, and not yet committed.
		}
		for i, line := range strings.Split(string(text), "\n") {
			for _, word := range avoidedWords.FindAllString(line, -1) {
				if !isAllowed(name, word) {
					t.Errorf("%s:%d: %q: use the word of docs/glossary.md, or add FILE | WORD | REASON to docs/glossary-exceptions.txt",
						name, i+1, word)
				}
			}
		}
	}

	for _, a := range allowances {
		if !a.isUsed {
			t.Errorf("docs/glossary-exceptions.txt: %s has no %q any more", a.file, a.word)
		}
	}
}

func TestLanguage_FileLength(t *testing.T) {
	t.Parallel()
	for _, name := range repositoryFiles(t) {
		if !strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, ".js") || strings.HasSuffix(name, ".pb.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		limit := maxProductLines
		if strings.HasSuffix(name, "_test.go") || strings.Contains(name, "/storetest/") {
			limit = maxTestLines
		}
		if lines := strings.Count(string(text), "\n"); lines > limit {
			t.Errorf("%s has %d lines, at most %d are allowed: split it by what it does", name, lines, limit)
		}
	}
}

// denseFunctions are long and without paragraphs for a reason.
var denseFunctions = map[string]string{}

func TestLanguage_Paragraphs(t *testing.T) {
	t.Parallel()
	var found []string
	for name, text := range goFiles(t) {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}

		lines := strings.Split(text, "\n")
		for _, declaration := range file.Decls {
			function, ok := declaration.(*ast.FuncDecl)
			if !ok || function.Body == nil {
				continue
			}
			first, last := set.Position(function.Body.Lbrace).Line, set.Position(function.Body.Rbrace).Line
			key := fmt.Sprintf("%s %s", name, function.Name.Name)
			if last-first > maxDenseLines && !slices.Contains(trimmed(lines[first:last-1]), "") && denseFunctions[key] == "" {
				found = append(found, fmt.Sprintf("%s:%d: %s has %d lines", name, first, function.Name.Name, last-first-1))
			}
		}
	}
	if len(found) > 0 {
		t.Errorf("functions of more than %d lines without a blank line between their steps:\n%s", maxDenseLines, strings.Join(found, "\n"))
	}
}

func trimmed(lines []string) []string {
	result := make([]string, len(lines))
	for i, line := range lines {
		result[i] = strings.TrimSpace(line)
	}
	return result
}

// TestLanguage_DocComments checks that the comment of a function or a type begins with its name, as go doc expects.
func TestLanguage_DocComments(t *testing.T) {
	t.Parallel()
	for name, text := range goFiles(t) {
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}

		check := func(identifier *ast.Ident, doc *ast.CommentGroup) {
			// The comment of an example is a text for readers of the package's documentation.
			if doc.Text() == "" || strings.HasPrefix(identifier.Name, "Example") {
				return
			}
			first, _, _ := strings.Cut(strings.TrimSpace(doc.Text()), " ")
			if strings.TrimRight(first, ".,:;") != identifier.Name {
				t.Errorf("%v: the comment of %s begins with %q: begin with its name", set.Position(doc.Pos()), identifier.Name, first)
			}
		}
		for _, declaration := range file.Decls {
			switch d := declaration.(type) {
			case *ast.FuncDecl:
				check(d.Name, d.Doc)
			case *ast.GenDecl:
				checkTypeComments(d, check)
			}
		}
	}
}

// checkTypeComments checks the comment of each type of a declaration. The comment of a group of types is not concerned.
func checkTypeComments(declaration *ast.GenDecl, check func(*ast.Ident, *ast.CommentGroup)) {
	for _, spec := range declaration.Specs {
		typeSpec, ok := spec.(*ast.TypeSpec)
		if !ok {
			continue
		}
		doc := typeSpec.Doc
		if doc == nil && !declaration.Lparen.IsValid() {
			doc = declaration.Doc
		}
		check(typeSpec.Name, doc)
	}
}
