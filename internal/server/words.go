package server

import (
	"strconv"
	"time"
	"unicode/utf8"

	"adsync/internal/ads"
)

// number groups a figure's digits by thousands.
func number(n int64) string {
	s, sign := strconv.FormatInt(n, 10), ""
	if n < 0 {
		s, sign = s[1:], "−"
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// span is a length of time in its two largest units at most.
func span(d time.Duration) string {
	d = d.Abs()
	switch {
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + " s"
	case d < time.Hour:
		return pair(int(d.Minutes()), "min", int(d.Seconds())%60, "s")
	case d < 48*time.Hour:
		return pair(int(d.Hours()), "h", int(d.Minutes())%60, "min")
	}
	return pair(int(d.Hours())/24, "d", int(d.Hours())%24, "h")
}

func pair(a int, unitA string, b int, unitB string) string {
	s := strconv.Itoa(a) + " " + unitA
	if b > 0 && a < 10 {
		s += " " + strconv.Itoa(b) + " " + unitB
	}
	return s
}

// relative is a time as seen from now; the zero time is "never".
func relative(t, now time.Time) string {
	switch d := now.Sub(t); {
	case t.IsZero():
		return "never"
	case d.Abs() < 2*time.Second:
		return "now"
	case d < 0:
		return "in " + span(d)
	default:
		return span(d) + " ago"
	}
}

func absolute(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// clip is at most n characters of s.
func clip(s string, n int) string {
	if len(s) <= n || utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n]) + "…"
}

// shown is text from outside for a cell of a table: clipped, without control characters. Templates make it harmless as markup.
func shown(s string) string { return ads.Printable(s, 200) }

// money is an amount in whole units of its currency, cents where it has any.
func money(m ads.Opt[ads.Micros], currency, period string) string {
	if !m.Set {
		return "–"
	}
	const unit = 1_000_000
	v := int64(m.Value)
	s := number(v / unit)
	if rest := v % unit; rest != 0 {
		cents := strconv.FormatInt(unit+max(rest, -rest), 10)[1:]
		if v < 0 && v > -unit {
			s = "−" + s
		}
		for len(cents) > 2 && cents[len(cents)-1] == '0' {
			cents = cents[:len(cents)-1]
		}
		s += "." + cents
	}
	if currency != "" {
		s += " " + currency
	}
	if period != "" {
		s += " " + period
	}
	return s
}

// figure is a number that the platform may not have given.
func figure(n ads.Opt[int64]) string {
	if !n.Set {
		return "–"
	}
	return number(n.Value)
}
