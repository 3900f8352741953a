package quota

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Limit is at most N requests in any window of that length.
type Limit struct {
	N      int
	Window time.Duration
}

// Bounds of a limit.
const (
	MaxN      = 100_000_000
	MinWindow = 10 * time.Millisecond
	MaxWindow = 31 * 24 * time.Hour
)

// ParseLimit reads "10/1m": N requests in any window of that length. The window may leave its number out ("10/m").
func ParseLimit(s string) (Limit, error) {
	bad := func(why string) (Limit, error) {
		return Limit{}, fmt.Errorf("%q is not a quota: %s (write it like 10/1m: 10 requests in any minute)", s, why)
	}
	n, w, ok := strings.Cut(strings.TrimSpace(s), "/")
	if !ok {
		return bad("there is no slash")
	}
	count, err := strconv.Atoi(strings.TrimSpace(n))
	if err != nil || count < 1 || count > MaxN {
		return bad("the number of requests must be from 1 to " + strconv.Itoa(MaxN))
	}
	w = strings.TrimSpace(w)
	if w != "" && (w[0] < '0' || w[0] > '9') {
		w = "1" + w
	}
	if days, found := strings.CutSuffix(w, "d"); found {
		d, err := strconv.Atoi(days)
		if err != nil || d < 1 || d > 31 {
			return bad("the window must be from 10ms to 31d")
		}
		return Limit{N: count, Window: time.Duration(d) * 24 * time.Hour}, nil
	}
	window, err := time.ParseDuration(w)
	if err != nil || window < MinWindow || window > MaxWindow {
		return bad("the window must be a duration from 10ms to 31d")
	}
	return Limit{N: count, Window: window}, nil
}

// String is the limit as ParseLimit reads it: "10/1m".
func (l Limit) String() string {
	w := l.Window.String()
	if l.Window%(24*time.Hour) == 0 {
		w = strconv.Itoa(int(l.Window/(24*time.Hour))) + "d"
	}
	if strings.HasSuffix(w, "m0s") {
		w = strings.TrimSuffix(w, "0s")
	}
	if strings.HasSuffix(w, "h0m") {
		w = strings.TrimSuffix(w, "0m")
	}
	return strconv.Itoa(l.N) + "/" + w
}

// margin is added to the window, since what counts is when the server sees a request: it covers the spread of delays on the way.
func (l Limit) margin() time.Duration {
	return min(max(l.Window*250/60_000, 20*time.Millisecond), 2*time.Second)
}

// grain is the resolution of the log: above 1,000 requests a window it counts in slots of a thousandth of it.
func (l Limit) grain() int64 {
	if l.N <= 1000 {
		return 1
	}
	return max(l.Window.Microseconds()/1000, 1)
}
