package report

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
)

// OneLine is s on one line and without power over a terminal: what does not print is escaped as Go escapes it.
func OneLine(s string) string {
	clean := true
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] >= 0x7f {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError:
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				fmt.Fprintf(&b, `\x%02x`, s[i])
				continue
			}
			b.WriteRune(r)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			q := strconv.QuoteRune(r)
			b.WriteString(q[1 : len(q)-1])
		}
	}
	return b.String()
}

// fit cuts s to a width in terminal cells.
func fit(s string, width int) string {
	if width <= 0 {
		return ""
	}
	return runewidth.Truncate(s, width, "…")
}

// pad fills s up to a width in terminal cells.
func pad(s string, width int) string {
	if n := width - runewidth.StringWidth(s); n > 0 {
		return s + strings.Repeat(" ", n)
	}
	return s
}

func padLeft(s string, width int) string {
	if n := width - runewidth.StringWidth(s); n > 0 {
		return strings.Repeat(" ", n) + s
	}
	return s
}

// span is a length of time for people: "350 ms", "2.4 s", "41 s", "11 min 5 s", "3 h 20 min", "31 years".
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < 950*time.Millisecond:
		return strconv.FormatInt(d.Round(time.Millisecond).Milliseconds(), 10) + " ms"
	case d < 9950*time.Millisecond:
		return strings.TrimSuffix(strconv.FormatFloat(d.Seconds(), 'f', 1, 64), ".0") + " s"
	}
	two := func(d, big, small time.Duration, bigName, smallName string) string {
		n := int64(d.Round(small) / small)
		per := int64(big / small)
		if n%per == 0 {
			return fmt.Sprintf("%d %s", n/per, bigName)
		}
		return fmt.Sprintf("%d %s %d %s", n/per, bigName, n%per, smallName)
	}
	const day = 24 * time.Hour
	switch {
	case d.Round(time.Second) < time.Minute:
		return strconv.FormatInt(int64(d.Round(time.Second)/time.Second), 10) + " s"
	case d.Round(time.Second) < time.Hour:
		return two(d, time.Minute, time.Second, "min", "s")
	case d.Round(time.Minute) < 2*day:
		return two(d, time.Hour, time.Minute, "h", "min")
	case d < 2*365*day:
		return strconv.FormatInt(int64(d/day), 10) + " days"
	}
	return strconv.FormatInt(int64(d/(365*day)), 10) + " years"
}

// wait is what is left of a wait, in whole seconds from one up: a countdown that shows 0 looks stuck.
func wait(d time.Duration) string {
	if d < time.Second {
		return "1 s"
	}
	return span((d + time.Second - 1).Truncate(time.Second))
}

// ago is a time in the past for people: "3 min ago". The zero time is "never".
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := now.Sub(t)
	switch {
	case d < 5*time.Second && d > -5*time.Second:
		return "just now"
	case d < 0:
		return "in " + rough(-d)
	}
	return rough(d) + " ago"
}

// rough is one unit of time, the largest that fits.
func rough(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return strconv.Itoa(int(d/time.Second)) + " s"
	case d < 2*time.Hour:
		return strconv.Itoa(int(d/time.Minute)) + " min"
	case d < 2*day:
		return strconv.Itoa(int(d/time.Hour)) + " h"
	}
	return strconv.Itoa(int(d/day)) + " days"
}

// clock is a time for people near it: the time alone today, with its date on other days. Local time.
func clock(t, now time.Time) string {
	t, now = t.Local(), now.Local()
	if y, m, d := t.Date(); y == now.Year() && m == now.Month() && d == now.Day() {
		return t.Format("15:04:05")
	}
	return t.Format("2006-01-02 15:04")
}

// stamp is a time for machines. The zero time is nil: null in JSON.
func stamp(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	s := t.UTC().Format("2006-01-02T15:04:05.999999Z07:00")
	return &s
}

// count is a number with its digits in groups of three.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// some is a number and the word for what it counts: "1 page", "2 pages".
func some(n int64, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return count(n) + " " + word + "s"
}
