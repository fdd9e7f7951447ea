package operatorcli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// checkOutputFormat checks the value of -o, which may be empty.
func checkOutputFormat(value string, allowed ...string) error {
	if value == "" || slices.Contains(allowed, value) {
		return nil
	}
	return usageError("-o is %q: allowed is %s; without -o the output is a table", clean(value), joinOr(allowed))
}

// writeAs writes a value as JSON or YAML.
func writeAs(w io.Writer, format string, value any) error {
	if format == "yaml" {
		return writeYAML(w, value)
	}
	text, err := encodeJSON(value, "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

// writeLine writes a value as JSON on one line.
func writeLine(w io.Writer, value any) error {
	text, err := encodeJSON(value, "")
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

func encodeJSON(value any, indent string) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", indent)
	if err := encoder.Encode(value); err != nil {
		return nil, fmt.Errorf("write JSON: %w", err)
	}
	return escapeControls(b.String()), nil
}

// escapeControls escapes characters that could control the terminal and that JSON and YAML leave as they are. They can only stand
// within strings, where the escape means the same character.
func escapeControls(text string) []byte {
	var b bytes.Buffer
	for _, r := range text {
		if r != '\n' && controlsTerminal(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.Bytes()
}

// writeYAML writes the fields of the JSON form, in their order.
func writeYAML(w io.Writer, value any) error {
	text, err := encodeJSON(value, "")
	if err != nil {
		return err
	}
	var node yaml.Node
	if err := yaml.Unmarshal(text, &node); err != nil {
		return fmt.Errorf("write YAML: %w", err)
	}
	useBlockStyle(&node)

	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(&node); err != nil {
		return fmt.Errorf("write YAML: %w", err)
	}
	_, err = w.Write(escapeControls(b.String()))
	return err
}

// useBlockStyle removes the style of JSON. Strings with control characters keep their quotes, within which escapes are allowed.
func useBlockStyle(node *yaml.Node) {
	if node.Kind != yaml.ScalarNode || !strings.ContainsFunc(node.Value, controlsTerminal) {
		node.Style = 0
	}
	for _, child := range node.Content {
		useBlockStyle(child)
	}
}
