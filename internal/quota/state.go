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

// sends is the log of one limit, oldest first. It keeps twice as many requests as the limit allows: a window full of requests that are then refused
// must not push out those that filled the server's window.
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
	for over := s.count() - 2*s.limit.N; over > 0 && len(s.entries) > 0; {
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
	at = s.round(at)
	for i := len(s.entries) - 1; i >= 0 && s.entries[i].at >= at; i-- {
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

// state is what the ledger keeps of a bucket. Times are µs since the epoch on the ledger's clock; 0 is never.
type state struct {
	logs []sends

	// The stay that the server asked for. since is the beginning of the last round of refusals, and stays when the stay is over: a refusal
	// of what was sent before it is news of that round, however late it comes.
	until, since int64
	told         int64 // the wait that the server named, before any cap; 0: none was named
	refused      int   // refusals of the last round

	// What refusals taught about others who use the quota too.
	scarce  Limit // the limit that it is about
	allowed int   // so many of it are for us; 0: all
	before  int   // what was for us when the last round began; 0: all
	learnt  int64 // when allowed last changed
	step    int   // by how much it is raised after the next clean window
	suspect int64 // the last refusal that had no explanation and was not acted on

	// How the margin fared.
	widen   int   // doublings of it
	widened int64 // when widen last changed
	pending bool  // the last round widened it, on the strength of its first refusal alone
}

const (
	stateVersion = 2
	maxWiden     = 6
	maxLogs      = 1024 // limits of a bucket, declared now or before
	maxEntries   = 4096 // of a log: at most 2,000 requests, or the slots of two windows
)

// leastLate is what a request may take from its reservation to the wire on a busy machine.
const leastLate = 50 * time.Millisecond

// late is how much later than now a reservation is logged, besides what the ledger takes. When the request has been sent, its entry is moved to that
// moment; of a process that dies before it can say so, the entry stays, and is late enough.
func (l Limit) late() int64 { return min(max(l.margin(), leastLate), l.Window/10).Microseconds() }

// lagMax bounds what is allowed for the ledger's own time.
func (l Limit) lagMax() time.Duration { return min(l.Window/10, time.Second) }

// hold is how long a request occupies its slot: the window and the margin, widened at most to a tenth of the window.
func (s *state) hold(l Limit) int64 {
	return (l.Window + min(l.margin()<<s.widen, l.marginMax())).Microseconds()
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

// tightest is the limit with the lowest rate.
func tightest(limits []Limit) (out Limit) {
	for _, l := range limits {
		if out.N == 0 || float64(l.N)/float64(l.Window) < float64(out.N)/float64(out.Window) {
			out = l
		}
	}
	return out
}

// n is how many requests of a limit may be in a window now: what it declares, or less where others use it too.
func (s *state) n(l Limit) int {
	if s.allowed > 0 && l == s.scarce {
		return min(s.allowed, l.N)
	}
	return l.N
}

// room is what a bucket allows at a moment.
type room struct {
	free   int   // requests that may be sent now; -1: any number
	next   int64 // µs; when free is 0
	server bool  // the wait is the server's
	limit  Limit // that holds things up, or has least room
	used   int   // of it
	n      int   // of it, as learnt
}

// settle brings times that lie in the future (a clock was set back) to now, so that no wait is longer than it would have been. It
// reports whether there were any: then the state must be stored, or they would move along with the clock.
func (s *state) settle(now int64) (changed bool) {
	for i := range s.logs {
		l := s.logs[i].limit
		latest := now + l.late() + l.lagMax().Microseconds() + l.grain()
		for j := range s.logs[i].entries {
			if e := &s.logs[i].entries[j]; e.at > latest {
				e.at, changed = latest, true
			}
		}
	}
	past := func(t *int64, latest int64) {
		if *t > latest {
			*t, changed = latest, true
		}
	}
	if s.since > now {
		s.until -= s.since - now
		s.since, changed = now, true
	}
	past(&s.until, now+MaxBlock.Microseconds())
	past(&s.learnt, max(now, s.until))
	past(&s.suspect, now)
	past(&s.widened, now)
	return changed
}

func (s *state) room(now int64, limits []Limit) room {
	r := room{free: -1}
	for _, l := range limits {
		lg, hold, n := s.log(l), s.hold(l), s.n(l)
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

// take logs k requests for a time.
func (s *state) take(now, at int64, k int, limits []Limit) {
	for _, l := range limits {
		lg := s.log(l)
		lg.expire(now, s.hold(l)+l.Window.Microseconds())
		lg.add(at, k)
	}
	s.recover(now, limits)
	if s.until <= now {
		s.until, s.told = 0, 0
	}
	// Logs of limits that are no longer declared go when nothing is left in them.
	s.logs = slices.DeleteFunc(s.logs, func(lg sends) bool {
		return !slices.Contains(limits, lg.limit) && lg.since(now-s.hold(lg.limit)) == 0
	})
}

// recover takes back what refusals taught: a step for each window without one, the steps growing while all goes well; and a margin that
// was enough for a long time is tried narrower.
func (s *state) recover(now int64, limits []Limit) {
	if s.allowed > 0 && !slices.Contains(limits, s.scarce) {
		s.allowed = 0
	}
	if s.allowed > 0 && now-s.learnt > s.hold(s.scarce) {
		if s.allowed += max(s.step, 1); s.allowed >= s.scarce.N {
			s.allowed = 0
		}
		s.step, s.learnt = min(2*max(s.step, 1), s.scarce.N), now
	}
	if s.widen > 0 && now-s.widened > max(time.Hour, 100*tightest(limits).Window).Microseconds() {
		s.widen, s.widened = s.widen-1, now
	}
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
// A request sent before the last round began belongs to it: it may lengthen the stay.
func (s *state) refuse(at, now, wait, told int64, counted bool, limits []Limit) (newRound bool) {
	newRound = s.since == 0 || at >= s.since
	if newRound {
		s.since, s.refused, s.before, s.pending = now, 0, s.allowed, false
	}
	s.refused++
	if !counted {
		s.giveBack(at)
	}
	s.learn(at, now, wait, counted, limits)
	if until := now + wait; until > s.until {
		s.until, s.told = until, told
	}
	return newRound
}

// learn asks what a refusal means. Either what we sent may have filled the server's window, seen with the greatest delays that are allowed for:
// then the margin was too small. Or it cannot have: then somebody else uses this quota, and ours is what was let in. A single refusal that
// is not explained may be a whim of the server and is not acted on, the next one is.
//
// The first refusals of a round see others in flight that will be refused as well, so each one judges the round anew.
func (s *state) learn(at, now, wait int64, counted bool, limits []Limit) {
	l, fill := Limit{}, -1.0
	for _, x := range limits { // the fullest is the one that it must be about
		if f := float64(s.log(x).since(at-s.hold(x))) / float64(x.N); f > fill {
			l, fill = x, f
		}
	}
	if l.N == 0 {
		return
	}
	out := 0 // refused ones that the log still has
	if counted {
		out = s.refused
	}
	accepted := max(s.log(l).since(at-s.hold(l))-out, 0)
	possible := max(s.log(l).since(at-(l.Window+l.marginMax()).Microseconds())-out, 0)
	if possible >= l.N-1 && s.widen < 2+btoi(s.pending) {
		if !s.pending {
			s.widen, s.widened, s.pending = s.widen+1, now, true
		}
		return
	}
	if s.refused == 1 && possible < l.N-1 && (s.suspect == 0 || now-s.suspect > 3*s.hold(l)+wait) {
		s.suspect = now
		return
	}
	if s.pending {
		s.widen, s.pending = s.widen-1, false
	}
	before := l.N
	if s.before > 0 && s.scarce == l {
		before = s.before
	}
	s.scarce, s.allowed = l, min(max(accepted, before/2, 1), max(l.N-1, 1))
	s.learnt, s.step, s.suspect = now+wait, max(l.N/16, 1), now
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

var errState = errors.New("the stored state of a quota cannot be read")

func (s *state) encode() []byte {
	b := []byte{stateVersion}
	for _, v := range []int64{
		s.until, s.since, s.told, int64(s.refused), int64(s.scarce.N), int64(s.scarce.Window), int64(s.allowed), int64(s.before), s.learnt,
		int64(s.step), s.suspect, int64(s.widen), s.widened, int64(btoi(s.pending)), int64(len(s.logs)),
	} {
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

// decode reads a stored state; nil is a bucket that is new. What it returns has been checked whole: it may come from anywhere.
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
	s.until, s.since, s.told, s.refused = read(0, end), read(0, end), read(0, end), int(read(0, MaxN))
	s.scarce = Limit{N: int(read(0, MaxN)), Window: time.Duration(read(0, int64(MaxWindow)))}
	s.allowed, s.before, s.learnt, s.step = int(read(0, MaxN)), int(read(0, MaxN)), read(0, end), int(read(0, MaxN))
	s.suspect, s.widen, s.widened, s.pending = read(0, end), int(read(0, maxWiden)), read(0, end), read(0, 1) == 1
	if s.allowed > 0 && s.scarce.check() != nil || s.pending && s.widen == 0 {
		return nil, errState
	}
	for range read(0, maxLogs) {
		lg := sends{limit: Limit{N: int(read(1, MaxN)), Window: time.Duration(read(int64(MinWindow), int64(MaxWindow)))}}
		last, total := int64(0), 0
		for range read(0, maxEntries) {
			e := entry{at: last + read(0, end), n: int(read(1, MaxN))}
			last = e.at
			total += e.n
			if bad || last > end || total > 2*lg.limit.N {
				return nil, errState
			}
			lg.entries = append(lg.entries, e)
		}
		if bad || slices.ContainsFunc(s.logs, func(o sends) bool { return o.limit == lg.limit }) {
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

// margin is added to the window, since what counts is when the server sees a request: it covers the spread of delays on the way. It is 250 ms in a
// minute and in proportion, but short windows get up to 60 ms while that costs no more than 1.25 %: a busy machine's delays do not shrink
// with the window.
func (l Limit) margin() time.Duration {
	return min(max(l.Window/240, min(l.Window/80, 60*time.Millisecond), 20*time.Millisecond), 2*time.Second)
}

// marginMax is how far refusals can widen it.
func (l Limit) marginMax() time.Duration { return max(l.Window/10, l.margin()) }

// grain is the resolution of the log: above 1,000 requests a window it counts in slots of a thousandth of it.
func (l Limit) grain() int64 {
	if l.N <= 1000 {
		return 1
	}
	return max(l.Window.Microseconds()/1000, 1)
}
