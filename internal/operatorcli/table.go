package operatorcli

import (
	"io"
	"strings"
)

// columnGap separates the columns of a table.
const columnGap = "  "

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

// table aligns columns. text/tabwriter does not serve, because it counts the codes of styles as letters.
type table struct {
	isRightAligned map[int]bool
	rows           [][]cell
}

// newTable returns a table with a head. rightAligned are the numbers of the columns that are aligned right.
func newTable(rightAligned []int, head ...string) *table {
	t := &table{isRightAligned: make(map[int]bool)}
	for _, column := range rightAligned {
		t.isRightAligned[column] = true
	}

	row := cells(head...)
	for i := range row {
		row[i].style = bold
	}
	t.rows = append(t.rows, row)
	return t
}

func (t *table) add(row ...cell) { t.rows = append(t.rows, row) }

// lines returns the lines of the table, each cut to maxColumns; 0 means no limit.
func (t *table) lines(p painter, maxColumns int) []string {
	widths := t.columnWidths()
	lines := make([]string, 0, len(t.rows))
	for _, row := range t.rows {
		lines = append(lines, t.line(row, widths, p, maxColumns))
	}
	return lines
}

func (t *table) columnWidths() []int {
	var widths []int
	for _, row := range t.rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], countColumns(clean(c.text)))
		}
	}
	return widths
}

func (t *table) line(row []cell, widths []int, p painter, maxColumns int) string {
	last := len(row) - 1
	for last > 0 && row[last].text == "" {
		last--
	}

	w := &lineWriter{painter: p, isLimited: maxColumns > 0, left: maxColumns}
	for i, c := range row[:last+1] {
		text := clean(c.text)
		padding := strings.Repeat(" ", widths[i]-countColumns(text))
		if t.isRightAligned[i] {
			w.write(plain, padding)
			w.write(c.style, text)
		} else {
			w.write(c.style, text)
			if i < last {
				w.write(plain, padding)
			}
		}

		if i < last {
			w.write(plain, columnGap)
		}
	}
	return w.b.String()
}

// lineWriter writes texts until its columns are used up.
type lineWriter struct {
	painter   painter
	isLimited bool
	left      int
	isFull    bool
	b         strings.Builder
}

func (w *lineWriter) write(s style, text string) {
	if w.isFull {
		return
	}
	if w.isLimited && countColumns(text) > w.left {
		text = cutTo(text, w.left)
		w.isFull = true
	}
	w.left -= countColumns(text)
	w.b.WriteString(w.painter.paint(s, text))
}

func (t *table) write(w io.Writer, p painter) error {
	_, err := io.WriteString(w, strings.Join(t.lines(p, 0), "\n")+"\n")
	return err
}

// cutTo shortens a text to a number of columns. A shortened text ends with an ellipsis.
func cutTo(text string, columns int) string {
	if countColumns(text) <= columns {
		return text
	}

	var b strings.Builder
	used := 0
	for _, r := range text {
		if used += countColumns(string(r)); used >= columns {
			break
		}
		b.WriteRune(r)
	}
	if columns > 0 {
		b.WriteString("…")
	}
	return b.String()
}
