package operatorcli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"
)

func TestAgesAreShort(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 59 * time.Second: "59s", 61 * time.Second: "1m01s", 90 * time.Minute: "1h30m", 47 * time.Hour: "47h00m", 72 * time.Hour: "3d",
	} {
		if got := age(d); got != want {
			t.Errorf("age(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestTablesLineUpAndAreCut(t *testing.T) {
	t.Parallel()
	table := newTable([]int{1}, "NAME", "N", "NOTES")
	table.add(cell{"a", green}, cell{"100", plain}, cell{"a long note", plain})
	table.add(cells("longer", "7", "")...)
	got := strings.Join(table.lines(false, 0), "\n")
	if want := "NAME      N  NOTES\na       100  a long note\nlonger    7"; got != want {
		t.Errorf("table =\n%s\nwant\n%s", got, want)
	}
	for columns := range 30 {
		for _, line := range table.lines(true, columns+1) {
			plain := line
			for _, code := range []string{"\x1b[0m", "\x1b[1m", "\x1b[32m"} {
				plain = strings.ReplaceAll(plain, code, "")
			}
			if width(plain) > columns+1 || strings.ContainsRune(plain, '\x1b') {
				t.Errorf("%q has more than %d columns, or half a code", line, columns+1)
			}
		}
	}
}

// TestWhatIsWrittenIsWhatWasMeant holds that what is escaped for the terminal's sake reads as it was.
func TestWhatIsWrittenIsWhatWasMeant(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		type value struct{ Text, Other string }
		texts := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "null", "1e3", "yes", "a: b", "\u202e", "\u0085", "\x1b[", "- x", "\"", "'", "#", "\\u001b", "2031-01-02T15:04:05Z"}))
		in := value{texts.Draw(t, "text"), texts.Draw(t, "other")}
		for _, form := range []string{"json", "yaml"} {
			var b bytes.Buffer
			if err := writeAs(&b, form, []value{in}); err != nil {
				t.Fatal(err)
			}
			if strings.ContainsFunc(strings.ReplaceAll(b.String(), "\n", ""), steers) {
				t.Fatalf("%s steers: %q", form, b.String())
			}
			var out []map[string]string
			if err := yaml.Unmarshal(b.Bytes(), &out); err != nil { // JSON is YAML.
				t.Fatalf("%s: %v\n%s", form, err, b.String())
			}
			if out[0]["Text"] != in.Text || out[0]["Other"] != in.Other {
				t.Fatalf("%s: %q became %q\n%s", form, in, out[0], b.String())
			}
		}
	})
}

func TestTimesAreReadEitherWay(t *testing.T) {
	t.Parallel()
	if at, ago, err := timeOrDuration("--since", "2031-01-02T15:04:05Z"); err != nil || ago != 0 || at.Unix() != 1925132645 {
		t.Errorf("a time = %v %v %v", at, ago, err)
	}
	if _, ago, err := timeOrDuration("--since", "1h30m"); err != nil || ago != 90*time.Minute {
		t.Errorf("a duration = %v %v", ago, err)
	}
	for _, text := range []string{"0s", "-1h", "1", "tomorrow", "2031-01-02"} {
		if _, _, err := timeOrDuration("--since", text); CodeOf(err) != ExitUsage {
			t.Errorf("%q = %v, want a wrong use", text, err)
		}
	}
}

func TestClaimsAreReadOfAnything(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[\w-]{0,9}\.[\w-]{0,9}\.[\w-]{0,9}`)).Draw(t, "token")
		if _, err := readClaims(text); err != nil && len(text) > 12 && strings.Contains(err.Error(), text) {
			t.Fatalf("the error quotes the token: %v", err)
		}
	})
	c, err := readClaims("eyJraWQiOiJrIn0.eyJzdWIiOiJvcHMiLCJleHAiOjFlOTksInNjb3BlcyI6WyJnYzpyZWFkIl19.x")
	if err != nil || c.Subject != "ops" || c.keyID != "k" || len(c.scopes()) != 1 || c.ExpiresAt.words(time.Unix(0, 0)) == "" {
		t.Errorf("claims = %+v, %v", c, err)
	}
}
