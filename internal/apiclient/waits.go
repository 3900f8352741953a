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
	any   span // requests that wait
	told  span // those of them whom the server has asked to
	shown map[observe.WaitReason]*shown
}

// span is the time in which it holds at least one.
type span struct {
	n     int
	since time.Time
	sum   time.Duration
}

func (s *span) add() {
	if s.n == 0 {
		s.since = time.Now()
	}
	s.n++
}

func (s *span) drop() {
	if s.n--; s.n == 0 {
		s.sum += time.Since(s.since)
	}
}

func (s *span) total() time.Duration {
	if s.n > 0 {
		return s.sum + time.Since(s.since)
	}
	return s.sum
}

// reset counts anew. What goes on counts from now.
func (s *span) reset() { s.sum, s.since = 0, time.Now() }

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
	told    bool
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
			w.any.add()
		}
	}
	x.setTold(ev.Reason == observe.WaitServer)
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

// setTold moves a request between what it waits for. w.mu is held.
func (x *wait) setTold(told bool) {
	if !x.counted || told == x.told {
		return
	}
	if x.told = told; told {
		x.w.told.add()
	} else {
		x.w.told.drop()
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
		w.any.drop()
		x.setTold(false)
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

// total is how long anything was waited for, and for how much of that the server had asked.
func (w *waits) total() (waited, told time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.any.total(), w.told.total()
}

func (w *waits) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.any.reset()
	w.told.reset()
}
