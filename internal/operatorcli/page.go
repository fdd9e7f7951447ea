package operatorcli

import (
	"fmt"
	"strings"
)

// page collects lines that consist of a name and a value, under titles.
type page struct {
	painter painter
	b       strings.Builder
}

func (p *page) title(text string) {
	if p.b.Len() > 0 {
		p.b.WriteString("\n")
	}
	p.b.WriteString(p.painter.paint(bold, text) + "\n")
}

func (p *page) line(name, format string, values ...any) {
	p.styledLine(plain, name, format, values...)
}

func (p *page) styledLine(s style, name, format string, values ...any) {
	fmt.Fprintf(&p.b, "  %-16s %s\n", name, p.painter.paint(s, clean(fmt.Sprintf(format, values...))))
}

// listLines adds a line for each text. The name and the prefix are on the first line only.
func (p *page) listLines(s style, name, prefix string, texts []string) {
	for _, text := range texts {
		p.styledLine(s, name, "%s%s", prefix, text)
		name, prefix = "", strings.Repeat(" ", len(prefix))
	}
}

// text returns the page without the last line break.
func (p *page) text() string { return strings.TrimSuffix(p.b.String(), "\n") }
