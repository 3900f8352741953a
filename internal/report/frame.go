package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"

	"adsync/internal/ads"
)

// framesRows bounds the lines of the live display, however tall the terminal is.
const framesRows = 12

// paint wraps s in a colour where there are colours.
func paint(color bool, code, s string) string {
	if !color || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

const (
	green  = "32"
	yellow = "33"
	red    = "31"
	faint  = "2"
)

// frame is the live display: one line per connection, none wider than the terminal. Where there are more connections than lines, a line about all
// comes first and the busiest follow.
func (t *tracker) frame(now time.Time, width, height int, color bool, clean *Redactor) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	rows := min(framesRows, height-1)
	if rows < 1 || width < 10 || len(t.order) == 0 {
		return nil
	}
	width-- // a terminal wraps when its last column is written
	shown := t.order
	var lines []string
	if len(shown) > rows {
		lines = append(lines, fit(t.overall(), width))
		shown = t.busiest(rows - 1)
	}
	names := 0
	for _, c := range shown {
		names = max(names, runewidth.StringWidth(OneLine(c.name)))
	}
	names = min(names, max(8, width/4))
	for _, c := range shown {
		lines = append(lines, c.line(now, names, width, color, clean))
	}
	return lines
}

// busiest are at most n connections that are worth a line: running ones, the most recently moved first; then the waiting ones.
func (t *tracker) busiest(n int) []*connection {
	var open []*connection
	for _, c := range t.order {
		if c.started && !c.ended {
			open = append(open, c)
		}
	}
	slices.SortStableFunc(open, func(a, b *connection) int {
		return cmp.Or(cmp.Compare(len(a.waits), len(b.waits)), b.moved.Compare(a.moved))
	})
	return open[:min(n, len(open))]
}

// line is one connection's row: name, bar, counts, what it does.
func (c *connection) line(now time.Time, names, width int, color bool, clean *Redactor) string {
	done, of := c.progress()
	bar := 0
	switch {
	case width >= 90:
		bar = 24
	case width >= 60:
		bar = 12
	}
	counts := "-"
	if of > 0 {
		counts = count(done) + "/" + count(of)
	}
	text, code := c.doing(now)
	text = OneLine(clean.String(text))
	left := pad(fit(OneLine(clean.String(c.name)), names), names) + " "
	mid := " " + padLeft(counts, 9) + "  "
	room := width - runewidth.StringWidth(left) - bar - runewidth.StringWidth(mid)
	if room < 8 {
		return fit(left+mid+text, width)
	}
	return left + paint(color, green, drawBar(done, of, bar)) + mid + paint(color, code, fit(text, room))
}

// doing is what the connection is about, and the colour for it.
func (c *connection) doing(now time.Time) (text, color string) {
	f := c.figures
	if c.ended {
		switch c.outcome {
		case ads.Complete:
			return fmt.Sprintf("complete: %s synced, %s unchanged", count(f.Synced), count(f.Unchanged)), green
		case ads.Partial:
			return fmt.Sprintf("partial: %s synced, %s failed", count(f.Synced), count(f.Failed)), yellow
		}
		return string(c.outcome), red
	}
	if !c.started {
		return "starting", faint
	}
	if w, ok := c.waiting(); ok {
		return waitText(w, now, ""), yellow
	}
	var parts []string
	switch {
	case c.circuit:
		parts = append(parts, "the host does not answer")
	case c.more || c.page == 0 && c.pending == 0:
		s := fmt.Sprintf("listing page %d", c.page+1)
		if c.pass > 1 {
			s += fmt.Sprintf(" (pass %d)", c.pass)
		}
		parts = append(parts, s)
	case c.pending > 0:
		parts = append(parts, "syncing "+c.records())
	default:
		parts = append(parts, "closing")
	}
	if f.Failed > 0 {
		parts = append(parts, count(f.Failed)+" failed")
	}
	if c.quota.Limit > 0 {
		parts = append(parts, fmt.Sprintf("quota %d of %d", c.quota.Used, c.quota.Limit))
	}
	return strings.Join(parts, ", "), ""
}

func drawBar(done, of int64, width int) string {
	if width <= 0 {
		return ""
	}
	full := 0
	if of > 0 {
		full = int(min(done, of) * int64(width) / of)
	}
	return strings.Repeat("█", full) + strings.Repeat("░", width-full)
}
