package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/mattn/go-runewidth"
)

// table lines columns up by what a terminal shows of them. A heading that begins with ">" has its column aligned to the right.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) write(w io.Writer) error {
	width := make([]int, len(t.head))
	all := append([][]string{make([]string, len(t.head))}, t.rows...)
	right := make([]bool, len(t.head))
	for i, h := range t.head {
		all[0][i], right[i] = strings.CutPrefix(h, ">")
	}
	for r, row := range all {
		for i := range row {
			if r > 0 {
				row[i] = OneLine(row[i])
			}
			width[i] = max(width[i], runewidth.StringWidth(row[i]))
		}
	}
	var b strings.Builder
	for _, row := range all {
		line := ""
		for i, c := range row {
			if i > 0 {
				line += "  "
			}
			if right[i] {
				line += padLeft(c, width[i])
			} else {
				line += pad(c, width[i])
			}
		}
		b.WriteString(strings.TrimRight(line, " "))
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteTable prints rows under their headings. A column whose values are all numbers is aligned to the right.
func WriteTable(w io.Writer, head []string, rows [][]string) error {
	t := table{}
	for i, h := range head {
		numbers := len(rows) > 0
		for _, r := range rows {
			if strings.Trim(r[i], "-0123456789.,") != "" {
				numbers = false
			}
		}
		if numbers {
			h = ">" + h
		}
		t.head = append(t.head, h)
	}
	for _, r := range rows {
		t.add(r...)
	}
	return t.write(w)
}

// Cell is a database's value as a table shows it.
func Cell(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case int64:
		return count(v)
	case []byte:
		return string(v)
	}
	return fmt.Sprint(v)
}
