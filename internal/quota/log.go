package quota

import "slices"

// entry says that n requests were sent at a time (µs since the epoch).
type entry struct {
	at int64
	n  int
}

// sends is the log of one limit, oldest first. It keeps twice as many requests as the limit allows: a window full of requests that are then refused
// must not push out those that filled the server's window.
type sends struct {
	limit   Limit
	seen    int64 // when somebody who declares the limit last took a slot
	total   int   // requests in the log
	entries []entry
}

// since counts the requests after t.
func (s *sends) since(t int64) (n int) {
	for i := len(s.entries) - 1; i >= 0 && s.entries[i].at > t; i-- {
		n += s.entries[i].n
	}
	return n
}

// free says how many requests of at most n in a window may be sent now and, when none may, when the next one may. hold is window and margin.
func (s *sends) free(now int64, n int, hold int64) (free int, next int64) {
	used := s.since(now - hold)
	if used < n {
		return n - used, now
	}
	// The request that must leave the window for one more to go: the n-th last.
	left := n
	for i := len(s.entries) - 1; i >= 0; i-- {
		if left -= s.entries[i].n; left <= 0 {
			return 0, s.entries[i].at + hold
		}
	}
	return 0, now + hold
}

// frees walks over the n slots of a limit in the order in which they become free: each when the request that used it last has left the window.
type frees struct {
	log   *sends
	hold  int64
	fresh int // slots that nothing in the log has used
	i     int // the entry that used the next one,
	left  int // and how many more it used
}

func (s *sends) frees(n int, hold int64) frees {
	f := frees{log: s, hold: hold, fresh: max(n-s.total, 0)}
	skip := s.total - n
	for f.i < len(s.entries) && skip >= s.entries[f.i].n {
		skip -= s.entries[f.i].n
		f.i++
	}
	if f.i < len(s.entries) {
		f.left = s.entries[f.i].n - max(skip, 0)
	}
	return f
}

// next gives the time at which the next slot is free, 0 for one that was never used. There are no more than n.
func (f *frees) next() (at int64, ok bool) {
	switch {
	case f.fresh > 0:
		f.fresh--
		return 0, true
	case f.i >= len(f.log.entries):
		return 0, false
	}
	at = f.log.entries[f.i].at + f.hold
	if f.left--; f.left == 0 {
		if f.i++; f.i < len(f.log.entries) {
			f.left = f.log.entries[f.i].n
		}
	}
	return at, true
}

// round brings a time to the log's resolution, upwards: against us.
func (s *sends) round(at int64) int64 {
	if g := s.limit.grain(); g > 1 {
		return (at + g - 1) / g * g
	}
	return at
}

// add logs k requests at a time. What no longer fits in the log is the oldest.
func (s *sends) add(at int64, k int) {
	at = s.round(at)
	i := len(s.entries)
	for i > 0 && s.entries[i-1].at > at {
		i--
	}
	if i > 0 && s.entries[i-1].at == at {
		s.entries[i-1].n += k
	} else {
		s.entries = slices.Insert(s.entries, i, entry{at, k})
	}
	s.total += k
	for over := s.total - 2*s.limit.N; over > 0 && len(s.entries) > 0; {
		if s.entries[0].n > over {
			s.entries[0].n -= over
			s.total -= over
			break
		}
		over -= s.entries[0].n
		s.drop()
	}
}

// drop forgets the oldest entry.
func (s *sends) drop() {
	s.total -= s.entries[0].n
	s.entries = s.entries[1:]
}

// remove takes back one request that was logged at a time. It reports whether it was there.
func (s *sends) remove(at int64) bool {
	at = s.round(at)
	for i := len(s.entries) - 1; i >= 0 && s.entries[i].at >= at; i-- {
		if s.entries[i].at == at {
			if s.entries[i].n--; s.entries[i].n == 0 {
				s.entries = slices.Delete(s.entries, i, i+1)
			}
			s.total--
			return true
		}
	}
	return false
}

// move logs at another time what was logged at one. What no window can hold any more is not kept one by one (expire), and so need not be found.
func (s *sends) move(now, from, to int64) {
	if s.remove(from) || from <= now-s.limit.widest() {
		s.add(to, 1)
	}
}

const (
	exactLog = 128 // up to so many entries a log is kept as it is
	pastLog  = 64  // steps in which the rest of a window is kept
)

// expire drops what is of no use even for judging refusals, and what no window can hold any more, however wide the margin, is kept in coarse
// steps.
func (s *sends) expire(now int64) {
	w := s.limit.Window.Microseconds()
	for len(s.entries) > 0 && s.entries[0].at <= now-s.limit.widest()-w {
		s.drop()
	}
	if len(s.entries) <= exactLog {
		return
	}
	step, past := max(w/pastLog, 1), now-s.limit.widest()
	out, i := 0, 1
	for ; i < len(s.entries) && s.entries[i].at <= past; i++ {
		if e := s.entries[i]; e.at/step == s.entries[out].at/step {
			s.entries[out] = entry{e.at, e.n + s.entries[out].n}
		} else {
			out++
			s.entries[out] = e
		}
	}
	if out+1 < i {
		s.entries = slices.Delete(s.entries, out+1, i)
	}
}

// adopt fills the logs of limits that are new from those of others: what was sent counts under whatever limit is declared later. latest bounds the
// entries: a coarse log has them later than they were.
func (s *state) adopt(now int64, limits []Limit) {
	for _, l := range limits {
		from := s.nearest(l)
		if from == nil {
			continue
		}
		fresh := sends{limit: l}
		latest := now + l.late() + l.lagMax().Microseconds() + l.ahead()
		for _, e := range from.entries {
			fresh.add(min(e.at, latest), e.n)
		}
		s.logs = append(s.logs, fresh)
	}
}

// nearest is the log that tells most about what a limit without a log would have logged: nil where it has one, or there is none.
func (s *state) nearest(l Limit) (out *sends) {
	for i := range s.logs {
		o := &s.logs[i]
		if o.limit == l {
			return nil
		}
		switch long := o.limit.Window >= l.Window; {
		case out == nil:
			out = o
		case long != (out.limit.Window >= l.Window): // one that reaches back far enough
			if long {
				out = o
			}
		case long == (o.limit.Window < out.limit.Window): // of those the finest, else what reaches back farthest
			out = o
		}
	}
	return out
}
