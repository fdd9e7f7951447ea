package operatorcli

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// commandRow matches the first column of a row in the table of commands.
var commandRow = regexp.MustCompile("(?m)^\\| (`[^|]*) \\|")

// TestCommands_DocumentedAndHelp checks that every command has a row in docs/gcctl.md, and texts for its help.
func TestCommands_DocumentedAndHelp(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/gcctl.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Commands\n")
	section, _, _ = strings.Cut(section, "\n## ")

	words := make(map[string]map[string]bool) // The words of all rows of a command.
	for _, match := range commandRow.FindAllStringSubmatch(section, -1) {
		row := strings.FieldsFunc(match[1], func(r rune) bool { return strings.ContainsRune("`, ", r) })
		if words[row[0]] == nil {
			words[row[0]] = make(map[string]bool)
		}
		for _, word := range row {
			words[row[0]][word] = true
		}
	}

	for _, command := range operatorCommands(Process{}) {
		if !words[command.Name()][command.Name()] {
			t.Errorf("docs/gcctl.md lacks a row for %s in its table of commands", command.Name())
			continue
		}
		checkHelp(t, command, words[command.Name()])
	}
}

// checkHelp checks a command and its sub-commands; words are those of the command's rows.
func checkHelp(t *testing.T, command *cobra.Command, words map[string]bool) {
	t.Helper()
	if command.Short == "" || command.Long == "" && command.Example == "" {
		t.Errorf("%s lacks Short, or both Long and Example", command.CommandPath())
	}
	if !words[command.Name()] {
		t.Errorf("docs/gcctl.md lacks %s in the row of its command", command.CommandPath())
	}
	for _, sub := range command.Commands() {
		checkHelp(t, sub, words)
	}
}
