package stage

import "time"

// slots is in how many parts a window is counted.
const slots = 60

// Window counts what lies inside a sliding window, in slots of a sixtieth of it: what is counted stays for the window's length and up to
// one slot more. Not safe for concurrent use.
type Window struct {
	Span time.Duration
	n    [slots + 1]int64
	last int64 // the newest slot's number
	sum  int64
	Most int64 // the largest sum that there was
}

func (w *Window) slot(now time.Duration) int64 { return int64(now / max(w.Span/slots, 1)) }

// Sum is what lies in the window that ends now.
func (w *Window) Sum(now time.Duration) int64 {
	s := w.slot(now)
	if s-w.last > slots {
		w.n, w.sum, w.last = [slots + 1]int64{}, 0, s
	}
	for w.last < s {
		w.last++
		i := w.last % (slots + 1)
		w.sum -= w.n[i]
		w.n[i] = 0
	}
	return w.sum
}

// Add counts n more.
func (w *Window) Add(now time.Duration, n int64) {
	w.Sum(now)
	w.n[w.last%(slots+1)] += n
	w.sum += n
	w.Most = max(w.Most, w.sum)
}

// Until is how long it takes until the sum is below limit, if nothing is added.
func (w *Window) Until(now time.Duration, limit int64) time.Duration {
	sum := w.Sum(now)
	for s := w.last - slots; s <= w.last; s++ {
		if sum < limit {
			break
		}
		if s < 0 {
			continue
		}
		if sum -= w.n[s%(slots+1)]; sum < limit {
			return time.Duration(s+slots+1)*max(w.Span/slots, 1) - now
		}
	}
	return 0
}

// told is a wait that an answer asked for, kept to find out who comes back before it is over.
type told struct{ at, until time.Duration }

const (
	// inFlightGrace is how long after a refusal a request may still arrive that was sent before the refusal could be read.
	inFlightGrace = 250 * time.Millisecond
	// maxTold bounds what counts as too early: nobody is asked to wait longer than a day before looking again.
	maxTold = 24 * time.Hour
	// maxKeys bounds how many scopes waits and figures are kept for.
	maxKeys = 50_000
)

func (t *told) tell(now, wait time.Duration) {
	if wait <= 0 {
		return
	}
	if now >= t.until {
		t.at = now
	}
	t.until = max(t.until, now+min(wait, maxTold))
}

// early says whether an arrival ignores the wait, and whether it may have been on its way already.
func (t *told) early(now time.Duration) (early, inFlight bool) {
	if now >= t.until {
		return false, false
	}
	if now-t.at < inFlightGrace {
		return false, true
	}
	return true, false
}
