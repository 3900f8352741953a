// Package retry has the arithmetic of trying again: how long to wait, and what a server's own word on it means. It is pure.
//
// It imports nothing of adsync.
package retry

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Backoff is exponential with full jitter: a random wait from 0 to Base × 2^n, at most Cap.
type Backoff struct{ Base, Cap time.Duration }

// Default is used between the tries of a request, Silent after a refusal for quota that names no time.
var (
	Default = Backoff{Base: 500 * time.Millisecond, Cap: 30 * time.Second}
	Silent  = Backoff{Base: 2 * time.Second, Cap: time.Minute}
)

// Delay is the wait after the n-th failure in a row, counted from 1. rnd is uniform in [0, 1).
func (b Backoff) Delay(n int, rnd float64) time.Duration {
	top := b.Cap
	if n < 32 {
		if d := b.Base << max(n-1, 0); d > 0 && d < top {
			top = d
		}
	}
	return time.Duration(rnd * float64(top))
}

// Longest is what any wait that a server names is cut to before it is used in arithmetic: a century.
const Longest = 100 * 365 * 24 * time.Hour

// Told is what a server said about when to come back.
type Told struct {
	Wait  time.Duration // from now
	Named bool          // it named a time that can be used; otherwise Wait is 0
	Said  bool          // it said something, usable or not
}

// floor is the shortest wait that is taken seriously.
const floor = time.Second

// After reads Retry-After (seconds or an HTTP date), RateLimit and RateLimit-Reset, and a wait from the body (negative: none). now is our clock.
// A date is measured against the answer's own Date, since the server's clock may be off by hours. Retry-After wins over the RateLimit
// fields; of Retry-After and the body the longer wait counts.
func After(h http.Header, body time.Duration, now time.Time) Told {
	t := Told{Said: h.Get("Retry-After") != "" || body >= 0}
	take := func(d time.Duration) {
		t.Wait, t.Named = max(t.Wait, min(max(d, floor), Longest)), true
	}
	if v := strings.TrimSpace(h.Get("Retry-After")); v != "" {
		if d, ok := retryAfter(v, h.Get("Date"), now); ok {
			take(d)
		}
	}
	if body > 0 {
		take(body)
	}
	if t.Named {
		return t
	}
	if d, ok := exhausted(h, now); ok {
		take(d)
		t.Said = true
	}
	return t
}

// retryAfter reads one Retry-After. Zero, less and nonsense are no time.
func retryAfter(v, date string, now time.Time) (time.Duration, bool) {
	if d, ok := seconds(v); ok {
		return d, d > 0
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0, false
	}
	d := at.Sub(sentAt(date, now))
	return d, d > 0
}

// seconds reads a number of seconds, rounded up, cut at Longest.
func seconds(v string) (time.Duration, bool) {
	if v == "" || strings.Trim(v, "+-0123456789.eE") != "" {
		return 0, false
	}
	f, err := strconv.ParseFloat(v, 64)
	if err != nil && !math.IsInf(f, 0) || math.IsNaN(f) {
		return 0, false
	}
	f = math.Ceil(min(max(f, 0), Longest.Seconds()))
	return time.Duration(f) * time.Second, true
}

// Exhausted says that the headers of a good answer report a quota of which nothing is left, and for how long.
func Exhausted(h http.Header, now time.Time) (time.Duration, bool) {
	d, ok := exhausted(h, now)
	return min(d, Longest), ok
}

func exhausted(h http.Header, now time.Time) (time.Duration, bool) {
	if d, ok := structured(h.Values("RateLimit")); ok {
		return d, true
	}
	for _, prefix := range []string{"RateLimit-", "X-RateLimit-", "X-Rate-Limit-"} {
		rest, okRest := seconds(strings.TrimSpace(h.Get(prefix + "Remaining")))
		reset, okReset := seconds(strings.TrimSpace(h.Get(prefix + "Reset")))
		if !okRest || !okReset || rest != 0 {
			continue
		}
		if reset > epochs { // a moment, not a length: Unix time, by the server's clock
			reset -= time.Duration(sentAt(h.Get("Date"), now).Unix()) * time.Second
			if reset > quotasEnd {
				continue
			}
		}
		if reset > 0 {
			return reset, true
		}
	}
	return 0, false
}

const (
	epochs    = 10 * 365 * 24 * time.Hour // a longer reset is a moment
	quotasEnd = 32 * 24 * time.Hour       // no quota's window is longer; what seems so is read wrong
)

// sentAt is when an answer was sent, by the server's clock; by ours where it does not say.
func sentAt(date string, now time.Time) time.Time {
	if sent, err := http.ParseTime(date); err == nil {
		return sent
	}
	return now
}

// structured reads RateLimit fields of the IETF draft ("default";r=0;t=30): the longest t of the policies with r=0.
func structured(fields []string) (out time.Duration, found bool) {
	for _, item := range strings.Split(strings.Join(fields, ","), ",") {
		params := strings.Split(item, ";")
		r, t := int64(-1), int64(-1)
		for _, p := range params[1:] {
			k, v, _ := strings.Cut(strings.TrimSpace(p), "=")
			n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			if err != nil || n < 0 {
				continue
			}
			switch strings.TrimSpace(k) {
			case "r":
				r = n
			case "t":
				t = n
			}
		}
		if r == 0 && t > 0 {
			d := time.Duration(min(t, int64(Longest/time.Second))) * time.Second
			out, found = max(out, d), true
		}
	}
	return out, found
}

// Budget bounds retries to a share of the requests and a bucket, so that tries never multiply a platform's trouble.
type Budget struct{ tokens float64 }

// Bounds of a budget.
const (
	BudgetBucket = 50
	BudgetShare  = 0.10
)

// NewBudget is a full one.
func NewBudget() Budget { return Budget{tokens: BudgetBucket} }

// Request earns a share of a retry.
func (b *Budget) Request() { b.tokens = min(b.tokens+BudgetShare, BudgetBucket*10) }

// Spend takes one retry. It reports whether there was one.
func (b *Budget) Spend() bool {
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
