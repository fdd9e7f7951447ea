package operatorcli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"
)

func TestFormatAge_Units(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Second:     "0s",
		59 * time.Second: "59s",
		61 * time.Second: "1m01s",
		90 * time.Minute: "1h30m",
		47 * time.Hour:   "47h00m",
		72 * time.Hour:   "3d",
	} {
		if got := formatAge(d); got != want {
			t.Errorf("formatAge(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestJoinFirst_CountsTheRest(t *testing.T) {
	t.Parallel()
	for texts, want := range map[string]string{
		"a":           "a",
		"a b":         "a and b",
		"a b c":       "a, b and c",
		"a b c d e f": "a, b, c, d and e and 1 more",
	} {
		if got := joinFirst(strings.Fields(texts)); got != want {
			t.Errorf("joinFirst(%s) = %q, want %q", texts, got, want)
		}
	}
}

func TestTable_AlignsAndCutsLines(t *testing.T) {
	t.Parallel()
	table := newTable([]int{1}, "NAME", "N", "NOTES")
	table.add(cell{"a", green}, cell{"100", plain}, cell{"a long note", plain})
	table.add(cells("longer", "7", "")...)

	got := strings.Join(table.lines(false, 0), "\n")
	if want := "NAME      N  NOTES\na       100  a long note\nlonger    7"; got != want {
		t.Errorf("table =\n%s\nwant\n%s", got, want)
	}
	styles := strings.NewReplacer("\x1b[0m", "", "\x1b[1m", "", "\x1b[32m", "")
	for columns := 1; columns <= 30; columns++ {
		for _, line := range table.lines(true, columns) {
			if text := styles.Replace(line); countColumns(text) > columns || strings.ContainsRune(text, '\x1b') {
				t.Errorf("%q has more than %d columns, or an incomplete code", line, columns)
			}
		}
	}
}

// TestWriteAs_RoundTrip checks that escaped texts have the same value when they are read again.
func TestWriteAs_RoundTrip(t *testing.T) {
	t.Parallel()
	difficult := []string{
		"", "null", "1e3", "yes", "a: b", "\u202e", "\u0085", "\x1b[", "- x", "\"", "'", "#", "\\u001b", "2031-01-02T15:04:05Z",
	}
	rapid.Check(t, func(t *rapid.T) {
		type value struct{ Text, Other string }
		texts := rapid.OneOf(rapid.String(), rapid.SampledFrom(difficult))
		in := value{texts.Draw(t, "text"), texts.Draw(t, "other")}

		for _, format := range []string{"json", "yaml"} {
			var b bytes.Buffer
			if err := writeAs(&b, format, []value{in}); err != nil {
				t.Fatal(err)
			}
			if strings.ContainsFunc(strings.ReplaceAll(b.String(), "\n", ""), controlsTerminal) {
				t.Fatalf("%s has control characters: %q", format, b.String())
			}

			var out []map[string]string
			if err := yaml.Unmarshal(b.Bytes(), &out); err != nil { // JSON is YAML.
				t.Fatalf("%s: %v\n%s", format, err, b.String())
			}
			if out[0]["Text"] != in.Text || out[0]["Other"] != in.Other {
				t.Fatalf("%s: %q became %q\n%s", format, in, out[0], b.String())
			}
		}
	})
}

func TestParseTimeOrDuration_RefusesOtherForms(t *testing.T) {
	t.Parallel()
	if at, ago, err := parseTimeOrDuration("--since", "2031-01-02T15:04:05Z"); err != nil || ago != 0 || at.Unix() != 1925132645 {
		t.Errorf("a time = %v %v %v", at, ago, err)
	}
	if _, ago, err := parseTimeOrDuration("--since", "1h30m"); err != nil || ago != 90*time.Minute {
		t.Errorf("a duration = %v %v", ago, err)
	}
	for _, text := range []string{"0s", "-1h", "1", "tomorrow", "2031-01-02"} {
		if _, _, err := parseTimeOrDuration("--since", text); ExitCodeOf(err) != ExitUsage {
			t.Errorf("%q = %v, want a usage error", text, err)
		}
	}
}

func TestParseClaims_ScopeListAndLargeExpiry(t *testing.T) {
	t.Parallel()
	c, err := parseClaims("eyJraWQiOiJrIn0.eyJzdWIiOiJvcHMiLCJleHAiOjFlOTksInNjb3BlcyI6WyJnYzpyZWFkIl19.x")
	if err != nil || c.Subject != "ops" || c.keyID != "k" || len(c.allScopes()) != 1 || c.ExpiresAt.describe(time.Unix(0, 0)) == "" {
		t.Errorf("claims = %+v, %v", c, err)
	}
}

func TestParseClaims_ErrorsQuoteNoToken(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		token := rapid.OneOf(rapid.String(), rapid.StringMatching(`[\w-]{0,9}\.[\w-]{0,9}\.[\w-]{0,9}`)).Draw(t, "token")
		if _, err := parseClaims(token); err != nil && len(token) > 12 && strings.Contains(err.Error(), token) {
			t.Fatalf("the error quotes the token: %v", err)
		}
	})
}
