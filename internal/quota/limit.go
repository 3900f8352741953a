package quota

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Limit is a quota: at most N requests in any window of that length. Its text form is "10/1m".
type Limit struct {
	N      int
	Window time.Duration
}

// Bounds of a limit. They keep the arithmetic far from overflow; no real quota comes near them.
const (
	MaxN      = 1_000_000_000
	MinWindow = 10 * time.Millisecond
	MaxWindow = 400 * 24 * time.Hour
)

// ParseLimit reads "10/1m", "100/15s", "10000/24h" or "10000/1d". The unit alone stands for one of it: "10/m".
func ParseLimit(s string) (Limit, error) {
	fail := func(what string) (Limit, error) {
		return Limit{}, fmt.Errorf("%q is not a quota: %s; write it like 10/1m (10 requests in any window of one minute)", clip(s), what)
	}
	count, window, ok := strings.Cut(strings.TrimSpace(s), "/")
	if !ok {
		return fail("there is no /")
	}
	count, window = strings.TrimSpace(count), strings.TrimSpace(window)
	n, err := strconv.ParseInt(count, 10, 64)
	switch {
	case err != nil || strings.HasPrefix(count, "+"):
		return fail("the number of requests before the / must be a whole number")
	case n < 1 || n > MaxN:
		return fail(fmt.Sprintf("the number of requests must be between 1 and %d", MaxN))
	}
	w, ok := parseWindow(window)
	if !ok {
		return fail("the window after the / must be a length of time such as 30s, 1m, 24h or 1d")
	}
	l := Limit{N: int(n), Window: w}
	if err := l.check(); err != nil {
		return fail(err.Error())
	}
	return l, nil
}

func parseWindow(s string) (time.Duration, bool) {
	if s == "" {
		return 0, false
	}
	if s[0] >= 'a' && s[0] <= 'z' {
		s = "1" + s // "m" is "1m"; signs and anything else fail below
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err == nil
	}
	if s[0] < '0' || s[0] > '9' {
		return 0, false
	}
	d, err := time.ParseDuration(s)
	return d, err == nil
}

func (l Limit) check() error {
	switch {
	case l.N < 1 || l.N > MaxN:
		return fmt.Errorf("the number of requests must be between 1 and %d", MaxN)
	case l.Window < MinWindow || l.Window > MaxWindow:
		return fmt.Errorf("the window must be between %s and %s", shortDuration(MinWindow), shortDuration(MaxWindow))
	}
	return nil
}

// String is the form that ParseLimit reads: "10/1m".
func (l Limit) String() string { return strconv.Itoa(l.N) + "/" + shortDuration(l.Window) }

// Rate is the limit as people say it: "10/min", "5/s", "100/4s".
func (l Limit) Rate() string {
	switch l.Window {
	case time.Second:
		return strconv.Itoa(l.N) + "/s"
	case time.Minute:
		return strconv.Itoa(l.N) + "/min"
	case time.Hour:
		return strconv.Itoa(l.N) + "/h"
	}
	return l.String()
}

// MarshalText implements encoding.TextMarshaler, and with it JSON and YAML.
func (l Limit) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *Limit) UnmarshalText(b []byte) error {
	v, err := ParseLimit(string(b))
	if err == nil {
		*l = v
	}
	return err
}

// shortDuration writes 1m for time.Duration's 1m0s, and days where they are whole and more than one.
func shortDuration(d time.Duration) string {
	const day = 24 * time.Hour
	if d > day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	if d >= time.Minute {
		if strings.HasSuffix(s, "m0s") {
			s = strings.TrimSuffix(s, "0s")
		}
		if strings.HasSuffix(s, "h0m") {
			s = strings.TrimSuffix(s, "0m")
		}
	}
	return s
}

func clip(s string) string {
	if len(s) > 40 {
		return strings.ToValidUTF8(s[:40], "") + "…"
	}
	return s
}
