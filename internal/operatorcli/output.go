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

// writeAs writes a value as JSON or YAML.
func writeAs(w io.Writer, form string, value any) error {
	if form == "yaml" {
		return writeYAML(w, value)
	}
	text, err := jsonText(value, "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

// writeLine writes a value as JSON on one line.
func writeLine(w io.Writer, value any) error {
	text, err := jsonText(value, "")
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

func jsonText(value any, indent string) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", indent)
	if err := encoder.Encode(value); err != nil {
		return nil, fmt.Errorf("write JSON: %w", err)
	}
	return escaped(b.String()), nil
}

// escaped has no character steer a terminal that JSON leaves as it is. They can only stand within strings, where an
// escape means the same.
func escaped(text string) []byte {
	var b bytes.Buffer
	for _, r := range text {
		if r != '\n' && steers(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.Bytes()
}

// writeYAML writes what the JSON says, in its order.
func writeYAML(w io.Writer, value any) error {
	text, err := jsonText(value, "")
	if err != nil {
		return err
	}
	var node yaml.Node
	if err := yaml.Unmarshal(text, &node); err != nil {
		return fmt.Errorf("write YAML: %w", err)
	}
	inBlocks(&node)
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(&node); err != nil {
		return fmt.Errorf("write YAML: %w", err)
	}
	_, err = w.Write(escaped(b.String()))
	return err
}

// inBlocks takes away the style of JSON, but for texts that need the quotes: in them an escape means the character.
func inBlocks(node *yaml.Node) {
	if node.Kind != yaml.ScalarNode || !strings.ContainsFunc(node.Value, steers) {
		node.Style = 0
	}
	for _, child := range node.Content {
		inBlocks(child)
	}
}

// form checks -o, which may be left out.
func form(value string, allowed ...string) error {
	if value == "" || slices.Contains(allowed, value) {
		return nil
	}
	return wrongUse("-o is %q: allowed is %s, or no -o at all", clean(value), joinOr(allowed))
}
