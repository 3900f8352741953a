package simulator

import "time"

// arrivals is a log of moments inside a sliding window. It counts; who holds it decides what a count means. Not safe for concurrent use.
type arrivals struct {
	window time.Duration
	times  []time.Duration // a ring: since the server's start, never falling
	head   int
	n      int
	most   int // the largest count that any window ever held
}

// maxArrivals bounds the log's memory (32 MiB). A client without quota that goes beyond it loses its oldest arrivals, and most is a lower bound then.
const maxArrivals = 4 << 20

// count is how many arrivals lie in the window that ends now: those younger than its length.
func (a *arrivals) count(now time.Duration) int {
	for a.n > 0 && now-a.times[a.head] >= a.window {
		a.head, a.n = (a.head+1)%len(a.times), a.n-1
	}
	return a.n
}

// oldest is the earliest arrival still in the window; only after count, and only when that was not 0.
func (a *arrivals) oldest() time.Duration { return a.times[a.head] }

func (a *arrivals) add(now time.Duration) {
	a.count(now)
	if a.n == len(a.times) && a.n < maxArrivals {
		grown := make([]time.Duration, max(16, 2*a.n))
		for i := range a.n {
			grown[i] = a.times[(a.head+i)%len(a.times)]
		}
		a.times, a.head = grown, 0
	}
	if a.n == len(a.times) {
		a.head, a.n = (a.head+1)%len(a.times), a.n-1
	}
	a.times[(a.head+a.n)%len(a.times)] = now
	a.n++
	a.most = max(a.most, a.n)
}

// told is a wait that an answer asked for, kept to find out who comes back before it is over.
type told struct{ at, until time.Duration }

// inFlightGrace is how long after a refusal a request may still arrive that was sent before the refusal could be read.
const inFlightGrace = 250 * time.Millisecond

// maxTold bounds what counts as too early: nobody is asked to wait longer than a day before looking again.
const maxTold = 24 * time.Hour

func (t *told) tell(now, wait time.Duration) {
	if wait <= 0 {
		return
	}
	wait = min(wait, maxTold)
	if now >= t.until {
		t.at = now
	}
	t.until = max(t.until, now+wait)
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
