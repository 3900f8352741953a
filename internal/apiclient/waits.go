package apiclient

import (
	"sync"
	"time"

	"adsync/internal/observe"
)

// waits tells how long the connection has waited for a quota or because the server asked for it: the time in which at least one request did. Waits of a second and
// more are observed, once for the connection and not for each request.
type waits struct {
	client *Client

	mu    sync.Mutex
	n     int // requests that wait
	since time.Time
	sum   time.Duration
	shown map[observe.WaitReason]*shown
}

type shown struct {
	n     int
	since time.Time
	until time.Time
}

// shortest wait that is worth an event.
const shortest = time.Second

// wait is one request's.
type wait struct {
	w       *waits
	counted bool
	in      bool
	reason  observe.WaitReason
}

// begin makes a wait that counts as waited once it is told of.
func (w *waits) begin() *wait { return &wait{w: w, counted: true} }

// quiet makes one that is shown but not counted: a host that is down is no quota.
func (w *waits) quiet() *wait { return &wait{w: w} }

// tell says what is waited for, now or anew. Where no end is in sight the caller tells of long waits only.
func (x *wait) tell(ev observe.WaitStarted) {
	w := x.w
	w.mu.Lock()
	if !x.in {
		x.in = true
		if x.counted {
			if w.n == 0 {
				w.since = time.Now()
			}
			w.n++
		}
	}
	if !ev.Until.IsZero() && time.Until(ev.Until) < shortest {
		w.mu.Unlock()
		return
	}
	var ended *observe.WaitEnded
	if x.reason != "" && x.reason != ev.Reason {
		ended = w.leave(x.reason)
	}
	entered := x.reason != ev.Reason
	x.reason = ev.Reason
	if w.shown == nil {
		w.shown = map[observe.WaitReason]*shown{}
	}
	s := w.shown[ev.Reason]
	news := s == nil
	if s == nil {
		s = &shown{since: time.Now()}
		w.shown[ev.Reason] = s
	}
	if entered {
		s.n++
	}
	d := ev.Until.Sub(s.until)
	if news = news || d > shortest || d < -shortest; news {
		s.until = ev.Until
	}
	w.mu.Unlock()
	if ended != nil {
		w.client.emit(*ended)
	}
	if news {
		w.client.emit(ev)
	}
}

// leave takes one request out of a shown wait.
func (w *waits) leave(r observe.WaitReason) *observe.WaitEnded {
	s := w.shown[r]
	if s == nil {
		return nil
	}
	if s.n--; s.n > 0 {
		return nil
	}
	delete(w.shown, r)
	return &observe.WaitEnded{Reason: r, Waited: time.Since(s.since)}
}

func (x *wait) end() {
	w := x.w
	w.mu.Lock()
	if x.in && x.counted {
		if w.n--; w.n == 0 {
			w.sum += time.Since(w.since)
		}
	}
	x.in = false
	var ended *observe.WaitEnded
	if x.reason != "" {
		ended = w.leave(x.reason)
		x.reason = ""
	}
	w.mu.Unlock()
	if ended != nil {
		w.client.emit(*ended)
	}
}

func (w *waits) total() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.n > 0 {
		return w.sum + time.Since(w.since)
	}
	return w.sum
}

// reset counts anew. A wait that goes on counts from now.
func (w *waits) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sum, w.since = 0, time.Now()
}
