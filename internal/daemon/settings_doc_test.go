package daemon

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// settingRow matches the first column of a setting's row in docs/configuration.md.
var settingRow = regexp.MustCompile("(?m)^\\| `([^`]*)`")

// TestSettings_Documented checks that docs/configuration.md lists every setting, as the help does.
func TestSettings_Documented(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := make(map[string]string)
	for section := range strings.SplitSeq(string(data), "\n## ") {
		title, text, _ := strings.Cut(section, "\n")
		sections[title] = text
	}

	names := make(map[string]bool)
	for _, group := range settingGroups() {
		for _, s := range group.settings {
			names[s.name] = true
			value := "empty"
			if s.defaultValue != "" {
				value = "`" + s.defaultValue + "`"
			}
			row := fmt.Sprintf("| `%s` | %s | %s | %s |\n", s.name, value, s.allowed, s.help)
			if !strings.Contains(sections[group.title], row) {
				t.Errorf("docs/configuration.md lacks this row in section %s:\n%s", group.title, row)
			}
		}
	}

	documented := make(map[string]bool)
	for _, group := range settingGroups() {
		for _, match := range settingRow.FindAllStringSubmatch(sections[group.title], -1) {
			name := match[1]
			if !names[name] {
				t.Errorf("docs/configuration.md has a row for %s, which is not a setting: remove the row", name)
			}
			if documented[name] {
				t.Errorf("docs/configuration.md has two rows for %s: remove one", name)
			}
			documented[name] = true
		}
	}
}

func TestSettings_Complete(t *testing.T) {
	t.Parallel()
	names := make(map[string]bool)
	for _, s := range settings() {
		if names[s.name] {
			t.Errorf("%s is listed twice", s.name)
		}
		names[s.name] = true
		if s.allowed == "" || s.help == "" || s.parse == nil {
			t.Errorf("%s lacks its allowed values, its help or its parser", s.name)
		}
		// An empty default means that the setting may be left out, so it is parsed as well.
		if err := s.parse(&Config{}, s.defaultValue); err != nil {
			t.Errorf("the default %q of %s is not allowed", s.defaultValue, s.name)
		}
	}
}
