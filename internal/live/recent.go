package live

import (
	"time"

	"adsync/internal/observe"
)

// Step and Span are how fine and how long what was sent is remembered.
const (
	Step = 5 * time.Second
	Span = 10 * time.Minute
)

// Moment is a Step of time in which something was sent or a slot was taken.
type Moment struct {
	At                time.Time // its beginning, a multiple of Step
	Requests, Refused int       // tries that were sent, token requests apart, and those of them that were refused for quota
	Used, Limit       int       // of the quota's window, at most; 0 where none is known
	Window            time.Duration
}

// slot is a Moment as it is kept: three KiB for each connection that has sent anything.
type slot struct {
	step                    int64 // since 1970
	requests, refused, used uint32
	limit                   uint32
}

// recent is a ring of the last Span.
type recent struct {
	slots  []slot
	window time.Duration
}

const steps = int64(Span / Step)

func (r *recent) observe(e observe.Event) {
	switch d := e.Data.(type) {
	case observe.Attempt:
		if d.Token || !d.Sent {
			return
		}
		s := r.at(e.At)
		s.requests++
		if d.Refused {
			s.refused++
		}
	case observe.QuotaState:
		s := r.at(e.At)
		s.used, s.limit, r.window = max(s.used, count(d.Used)), count(d.Limit), d.Window
	}
}

func count(n int) uint32 { return uint32(min(max(n, 0), 1<<31)) }

// at is the slot of a time, emptied where it was an older one's.
func (r *recent) at(t time.Time) *slot {
	if r.slots == nil {
		r.slots = make([]slot, steps)
	}
	step := t.UnixNano() / int64(Step)
	s := &r.slots[((step%steps)+steps)%steps]
	if s.step != step {
		*s = slot{step: step}
	}
	return s
}

func (r *recent) read(now time.Time) (out []Moment) {
	if r.slots == nil {
		return nil
	}
	last := now.UnixNano() / int64(Step)
	for step := last - steps + 1; step <= last; step++ {
		if s := r.slots[((step%steps)+steps)%steps]; s.step == step {
			out = append(out, Moment{
				At: time.Unix(0, step*int64(Step)), Requests: int(s.requests), Refused: int(s.refused), Used: int(s.used), Limit: int(s.limit), Window: r.window,
			})
		}
	}
	return out
}
