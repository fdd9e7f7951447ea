package operatorcli

import (
	"io"
	"strings"
)

// style is a colour of the terminal, as its number; 0: none.
type style int

const (
	plain  style = 0
	bold   style = 1
	dim    style = 2
	red    style = 31
	green  style = 32
	yellow style = 33
	blue   style = 34
	purple style = 35
)

// painter colours where that is wanted.
type painter bool

func (p painter) paint(s style, text string) string {
	if !p || s == plain || text == "" {
		return text
	}
	codes := map[style]string{bold: "1", dim: "2", red: "31", green: "32", yellow: "33", blue: "34", purple: "35"}
	return "\x1b[" + codes[s] + "m" + text + "\x1b[0m"
}

// stateStyle helps the eye only: the states are words.
func stateStyle(state string) style {
	switch state {
	case "healthy":
		return green
	case "degraded":
		return yellow
	case "unhealthy":
		return red
	case "draining":
		return purple
	case "pending":
		return blue
	}
	return plain
}

type cell struct {
	text  string
	style style
}

func cells(texts ...string) []cell {
	row := make([]cell, 0, len(texts))
	for _, text := range texts {
		row = append(row, cell{text: text})
	}
	return row
}

// table lines up columns. Its own, because text/tabwriter counts the codes of colours as letters.
type table struct {
	// right tells which columns hold numbers.
	right map[int]bool
	rows  [][]cell
}

func newTable(right []int, head ...string) *table {
	t := &table{right: make(map[int]bool)}
	for _, column := range right {
		t.right[column] = true
	}
	row := cells(head...)
	for i := range row {
		row[i].style = bold
	}
	t.rows = append(t.rows, row)
	return t
}

func (t *table) add(row ...cell) { t.rows = append(t.rows, row) }

// lines renders the table, cut at so many columns; 0: as wide as it is.
func (t *table) lines(p painter, columns int) []string {
	var widths []int
	for _, row := range t.rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], width(clean(c.text)))
		}
	}
	lines := make([]string, 0, len(t.rows))
	for _, row := range t.rows {
		lines = append(lines, t.line(row, widths, p, columns))
	}
	return lines
}

func (t *table) line(row []cell, widths []int, p painter, columns int) string {
	var b strings.Builder
	left := columns
	put := func(s style, text string) bool {
		if columns > 0 && width(text) > left {
			b.WriteString(p.paint(s, cutTo(text, left)))
			left = 0
			return false
		}
		left -= width(text)
		b.WriteString(p.paint(s, text))
		return true
	}
	last := len(row) - 1
	for last > 0 && row[last].text == "" {
		last--
	}
	for i, c := range row[:last+1] {
		text := clean(c.text)
		gap := strings.Repeat(" ", widths[i]-width(text))
		switch {
		case t.right[i]:
			if !put(plain, gap) || !put(c.style, text) {
				return b.String()
			}
		case i == last:
			gap = ""
			fallthrough
		default:
			if !put(c.style, text) || !put(plain, gap) {
				return b.String()
			}
		}
		if i < last && !put(plain, "  ") {
			return b.String()
		}
	}
	return b.String()
}

// cutTo shortens a text to so many columns, and shows that it did.
func cutTo(text string, columns int) string {
	if width(text) <= columns {
		return text
	}
	var b strings.Builder
	used := 0
	for _, r := range text {
		if used += width(string(r)); used >= columns {
			break
		}
		b.WriteRune(r)
	}
	if columns > 0 {
		b.WriteString("…")
	}
	return b.String()
}

func (t *table) write(w io.Writer, p painter) error {
	_, err := io.WriteString(w, strings.Join(t.lines(p, 0), "\n")+"\n")
	return err
}
