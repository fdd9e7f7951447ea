package daemon

import (
	"cmp"
	"fmt"
	"os"
	"strings"
	"testing"
)

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

	rows := 0
	for _, group := range settingGroups() {
		for _, s := range group.settings {
			rows++
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

	documented := 0
	for _, group := range settingGroups() {
		documented += strings.Count(sections[group.title], "\n| `")
	}
	if documented != rows {
		t.Errorf("docs/configuration.md has %d settings, want %d: remove those that do not exist", documented, rows)
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
		if cmp.Or(s.allowed, s.help) == "" || s.parse == nil {
			t.Errorf("%s lacks its allowed values, its help or its parser", s.name)
		}
		// An empty default means that the setting may be left out, so it is parsed as well.
		if err := s.parse(&Config{}, s.defaultValue); err != nil {
			t.Errorf("the default %q of %s is not allowed", s.defaultValue, s.name)
		}
	}
}
