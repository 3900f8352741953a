package quota

import (
	"slices"
	"time"
)

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

	parties []party // processes that wait for slots, or did so a moment ago
}

const (
	maxWiden = 6
	maxLogs  = 1024 // limits of a bucket, declared now or before
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

// log is the log of a limit. The one it gives is good until the next call.
func (s *state) log(l Limit) *sends {
	for i := range s.logs {
		if s.logs[i].limit == l {
			return &s.logs[i]
		}
	}
	s.logs = append(s.logs, sends{limit: l})
	return &s.logs[len(s.logs)-1]
}

// slots walks over the free slots of a bucket in the order in which they become free.
type slots []frees

func (s *state) slots(limits []Limit) slots {
	for _, l := range limits {
		s.log(l) // all of them exist before one is pointed to
	}
	out := make(slots, len(limits))
	for i, l := range limits {
		out[i] = s.log(l).frees(s.n(l), s.hold(l))
	}
	return out
}

// next gives the time at which every limit has one more slot, 0 where that has always been so. When it reports false, all slots of a window have
// been walked over.
func (w slots) next() (at int64, ok bool) {
	for i := range w {
		t, ok := w[i].next()
		if !ok {
			return 0, false
		}
		at = max(at, t)
	}
	return at, len(w) > 0
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
		latest := s.logs[i].round(now + l.late() + l.lagMax().Microseconds() + l.ahead())
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
	for i := range s.logs {
		past(&s.logs[i].seen, now)
	}
	for i := range s.parties {
		past(&s.parties[i].back, max(s.until, now+s.longest())+slack)
	}
	return changed
}

// longest is how long the longest window holds a request.
func (s *state) longest() (hold int64) {
	for i := range s.logs {
		hold = max(hold, s.hold(s.logs[i].limit))
	}
	return hold
}

func (s *state) room(now int64, limits []Limit) room {
	r := room{free: -1}
	for _, l := range limits {
		lg, hold, n := s.log(l), s.hold(l), s.n(l)
		free, next := lg.free(now, n, hold)
		if r.free < 0 || free < r.free || (free == 0 && next > r.next) {
			r.free, r.next, r.limit, r.n = free, next, l, n
			r.used = min(lg.since(now-hold), l.N) // what is taken ahead is for the window after
		}
	}
	if s.until > now && (r.free != 0 || s.until > r.next) {
		r.free, r.next, r.server = 0, s.until, true
	}
	return r
}

// take logs requests for the times at, which are in order.
func (s *state) take(now int64, at []int64, limits []Limit) {
	for _, l := range limits {
		s.log(l).seen = now
	}
	// Other processes may have limits that this one does not know, or knows no longer: for a window everything counts under them too.
	s.logs = slices.DeleteFunc(s.logs, func(lg sends) bool { return lg.seen < now-s.hold(lg.limit) })
	for i := range s.logs {
		lg := &s.logs[i]
		lg.expire(now)
		for j := 0; j < len(at); {
			k := j + 1
			for k < len(at) && at[k] == at[j] {
				k++
			}
			lg.add(at[j], k-j)
			j = k
		}
	}
	s.recover(now, limits)
	if s.until <= now {
		s.until, s.told = 0, 0
	}
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

func (s *state) move(now, from, to int64) {
	for i := range s.logs {
		s.logs[i].move(now, from, to)
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

// widest is how long a request can count at most, however far the margin is widened.
func (l Limit) widest() int64 { return (l.Window + l.marginMax()).Microseconds() }

// ahead is how long before a slot is free it can be taken (µs): so that what the ledger takes is no time lost, and one look is enough for several.
func (l Limit) ahead() int64 { return min(l.Window/40, 100*time.Millisecond).Microseconds() }

// grace is how long a free slot is left to the process that it is for (µs).
func (l Limit) grace() int64 {
	return min(max(l.Window/200, 5*time.Millisecond), 50*time.Millisecond).Microseconds()
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
