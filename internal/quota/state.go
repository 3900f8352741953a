package quota

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"
)

// entry says that n requests were sent at a time (µs since the epoch).
type entry struct {
	at int64
	n  int
}

// sends is the log of one limit, oldest first, at most as many requests as the limit allows.
type sends struct {
	limit   Limit
	entries []entry
}

// count is the number of requests in the log.
func (s *sends) count() (n int) {
	for _, e := range s.entries {
		n += e.n
	}
	return n
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

// add logs k requests at a time, rounded up to the grain: against us.
func (s *sends) add(at int64, k int) {
	if g := s.limit.grain(); g > 1 {
		at = (at + g - 1) / g * g
	}
	i := len(s.entries)
	for i > 0 && s.entries[i-1].at > at {
		i--
	}
	if s.limit.grain() > 1 && i > 0 && s.entries[i-1].at == at {
		s.entries[i-1].n += k
	} else {
		s.entries = slices.Insert(s.entries, i, entry{at, k})
	}
	for over := s.count() - s.limit.N; over > 0 && len(s.entries) > 0; {
		if s.entries[0].n > over {
			s.entries[0].n -= over
			break
		}
		over -= s.entries[0].n
		s.entries = s.entries[1:]
	}
}

// remove takes back one request that was logged at a time. It reports whether it was there.
func (s *sends) remove(at int64) bool {
	if g := s.limit.grain(); g > 1 {
		at = (at + g - 1) / g * g
	}
	for i := len(s.entries) - 1; i >= 0; i-- {
		if s.entries[i].at == at {
			if s.entries[i].n--; s.entries[i].n == 0 {
				s.entries = slices.Delete(s.entries, i, i+1)
			}
			return true
		}
	}
	return false
}

// expire drops what no window can hold any more.
func (s *sends) expire(now, hold int64) {
	for len(s.entries) > 0 && s.entries[0].at <= now-hold {
		s.entries = s.entries[1:]
	}
}

// state is what the ledger keeps of a bucket.
type state struct {
	logs    []sends
	until   int64 // µs; nothing is sent before: the server asked for it
	since   int64 // µs; when that was asked
	told    int64 // µs; the wait that the server named, before any cap; 0: none was named
	allowed int   // learnt: this many of the tightest limit, since others use it too; 0: all
	learnt  int64 // µs; when allowed was last changed
	widen   int   // doublings of the margin, since refusals showed that it was too small
}

const (
	stateVersion = 1
	maxWiden     = 6
)

// hold is how long a request occupies its slot: the window and the margin, widened at most to a tenth of the window.
func (s *state) hold(l Limit) int64 {
	m := l.margin() << s.widen
	return (l.Window + min(m, max(l.Window/10, l.margin()))).Microseconds()
}

// log is the log of a limit.
func (s *state) log(l Limit) *sends {
	for i := range s.logs {
		if s.logs[i].limit == l {
			return &s.logs[i]
		}
	}
	s.logs = append(s.logs, sends{limit: l})
	return &s.logs[len(s.logs)-1]
}

// tightest is the limit with the lowest rate: the one that a refusal is read as being about.
func tightest(limits []Limit) (out Limit) {
	for _, l := range limits {
		if out.N == 0 || float64(l.N)/float64(l.Window) < float64(out.N)/float64(out.Window) {
			out = l
		}
	}
	return out
}

// n is how many requests of a limit may be in a window now: what it declares, or less where others use it too.
func (s *state) n(l, tight Limit) int {
	if s.allowed > 0 && l == tight {
		return min(max(s.allowed, 1), l.N)
	}
	return l.N
}

// room is what a bucket allows at a moment.
type room struct {
	free   int   // requests that may be sent now; -1: any number
	next   int64 // µs; when free is 0
	server bool  // the wait is the server's
	limit  Limit // that holds things up, or the tightest
	used   int   // of it
	n      int   // of it, as learnt
}

// settle brings times that lie in the future (a clock was set back) to now, so that no wait is longer than it would have been. It
// reports whether there were any: then the state must be stored, or they would move along with the clock.
func (s *state) settle(now int64) (changed bool) {
	for i := range s.logs {
		for j := range s.logs[i].entries {
			if e := &s.logs[i].entries[j]; e.at > now+s.logs[i].limit.grain() {
				e.at, changed = now, true
			}
		}
	}
	if s.since > now {
		s.until -= s.since - now
		s.since, changed = now, true
	}
	if s.until > now+MaxBlock.Microseconds() {
		s.until, changed = now+MaxBlock.Microseconds(), true
	}
	if s.learnt > now+MaxBlock.Microseconds() {
		s.learnt, changed = now, true
	}
	return changed
}

func (s *state) room(now int64, limits []Limit) room {
	tight := tightest(limits)
	r := room{free: -1, limit: tight, n: tight.N}
	for _, l := range limits {
		lg := s.log(l)
		hold := s.hold(l)
		n := s.n(l, tight)
		free, next := lg.free(now, n, hold)
		if r.free < 0 || free < r.free || (free == 0 && next > r.next) {
			r.free, r.next, r.limit, r.used, r.n = free, next, l, lg.since(now-hold), n
		}
	}
	if s.until > now && (r.free != 0 || s.until > r.next) {
		r.free, r.next, r.server = 0, s.until, true
	}
	return r
}

// take logs k requests.
func (s *state) take(now int64, k int, limits []Limit) {
	for _, l := range limits {
		lg := s.log(l)
		lg.expire(now, s.hold(l)+l.Window.Microseconds())
		lg.add(now, k)
	}
	if tight := tightest(limits); s.allowed > 0 && now-s.learnt > s.hold(tight) {
		if s.allowed++; s.allowed >= tight.N {
			s.allowed = 0
		}
		s.learnt = now
	}
	if s.until <= now {
		s.until, s.since, s.told = 0, 0, 0
	}
	// Logs of limits that are no longer declared go when nothing is left in them.
	s.logs = slices.DeleteFunc(s.logs, func(lg sends) bool {
		return !slices.Contains(limits, lg.limit) && lg.since(now-s.hold(lg.limit)) == 0
	})
}

func (s *state) move(from, to int64) {
	for i := range s.logs {
		if s.logs[i].remove(from) {
			s.logs[i].add(to, 1)
		}
	}
}

func (s *state) giveBack(at int64) {
	for i := range s.logs {
		s.logs[i].remove(at)
	}
}

// refuse takes in that the server refused a request that was sent at a time. wait is how long to stay away, told what the server named.
// A request sent before the present stay began belongs to the same round: it may lengthen the stay, and teaches nothing new.
func (s *state) refuse(at, now, wait, told int64, counted bool, limits []Limit) (newRound bool) {
	newRound = s.until == 0 || at >= s.since
	tight := tightest(limits)
	if tight.N > 0 {
		used := s.log(tight).since(at - s.hold(tight))
		if !counted {
			used--
		}
		switch {
		case !newRound && s.allowed > 1 && !counted:
			s.allowed--
		case !newRound && s.allowed == 0 && used < tight.N-2: // too many for a matter of margins
			s.allowed, s.learnt = max(used, 1), now+wait
		case !newRound:
		case newRound && used >= tight.N-1:
			s.widen = min(s.widen+1, maxWiden) // the window was ours alone: the margin was too small
		case newRound:
			s.allowed, s.learnt = max(used, 1), now+wait
		}
	}
	if !counted {
		s.giveBack(at)
	}
	if newRound {
		s.since = now
	}
	if until := now + wait; until > s.until {
		s.until, s.told = until, told
	}
	return newRound
}

var errState = errors.New("the stored state of a quota cannot be read")

func (s *state) encode() []byte {
	b := []byte{stateVersion}
	for _, v := range []int64{s.until, s.since, s.told, int64(s.allowed), s.learnt, int64(s.widen), int64(len(s.logs))} {
		b = binary.AppendVarint(b, v)
	}
	for _, lg := range s.logs {
		b = binary.AppendVarint(b, int64(lg.limit.N))
		b = binary.AppendVarint(b, int64(lg.limit.Window))
		b = binary.AppendVarint(b, int64(len(lg.entries)))
		last := int64(0)
		for _, e := range lg.entries {
			b = binary.AppendVarint(b, e.at-last)
			b = binary.AppendVarint(b, int64(e.n))
			last = e.at
		}
	}
	return b
}

// decode reads a stored state; nil is a bucket that is new.
func decode(b []byte) (*state, error) {
	s := &state{}
	if len(b) == 0 {
		return s, nil
	}
	if b[0] != stateVersion {
		return nil, errState
	}
	b = b[1:]
	bad := false
	read := func(lo, hi int64) int64 {
		v, n := binary.Varint(b)
		if n <= 0 || v < lo || v > hi {
			bad = true
			return lo
		}
		b = b[n:]
		return v
	}
	const end = int64(1) << 60
	s.until, s.since, s.told = read(0, end), read(0, end), read(0, end)
	s.allowed, s.learnt, s.widen = int(read(0, MaxN)), read(0, end), int(read(0, maxWiden))
	for range read(0, 64) {
		lg := sends{limit: Limit{N: int(read(1, MaxN)), Window: time.Duration(read(int64(MinWindow), int64(MaxWindow)))}}
		last, total := int64(0), 0
		for range read(0, 5000) {
			e := entry{at: last + read(0, end), n: int(read(1, MaxN))}
			last = e.at
			total += e.n
			if bad || last > end || total > lg.limit.N {
				return nil, errState
			}
			lg.entries = append(lg.entries, e)
		}
		if bad {
			return nil, errState
		}
		s.logs = append(s.logs, lg)
	}
	if bad || len(b) > 0 {
		return nil, errState
	}
	return s, nil
}

// full is the state that a state which cannot be read is taken for: every window used up just now.
func full(now int64, limits []Limit) *state {
	s := &state{}
	for _, l := range limits {
		s.log(l).add(now, l.N)
	}
	return s
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
