package quota

import (
	"context"
	"fmt"
	"slices"
	"time"

	"adsync/internal/observe"
)

// step gives out what is due and sees to what comes next. It is called whenever something has changed. b.mu is held.
func (b *Bucket) step() {
	now := time.Now()
	had := len(b.leases)
	b.give(now)
	next := b.returnLeases(now)
	if b.spared && len(b.leases) < had && b.wait.number > 0 { // who was spared for a lease that somebody else has got
		b.tell()
	}
	var ask time.Time
	if !b.asking {
		ask = b.plan(now)
	}
	switch {
	case ask.IsZero():
	case !ask.After(now):
		b.asking = true
		go b.ask()
	case next.IsZero() || ask.Before(next):
		next = ask
	}
	if b.queue.n > 0 && len(b.leases) > 0 && b.mayGive() && b.leases[0].due.After(now) && (next.IsZero() || b.leases[0].due.Before(next)) {
		next = b.leases[0].due
	}
	written := b.written()
	if !written.IsZero() && written.After(now) && (next.IsZero() || written.Before(next)) {
		next = written
	}
	if b.queue.n == 0 && !b.asking {
		b.wait.number = 0
		if rest := b.rest(now); next.IsZero() {
			next = rest
		}
	}
	b.arm(next)
	overdue := !written.IsZero() && !written.After(now)
	left := b.announced > 0 && b.queue.n == 0 && len(b.leases) == 0
	if !b.asking && !b.writing && (len(b.backs) > 0 || left || overdue) {
		b.writing = true
		go b.write()
	}
}

// written is when the moves have to be in the ledger, if nothing takes them along before: who waits there for these slots should know early when they
// are free again. Zero: there is nothing to write. b.mu is held.
func (b *Bucket) written() time.Time {
	if b.moved.IsZero() || len(b.limits) == 0 {
		return time.Time{}
	}
	return b.moved.Add(min(b.limits[0].Window/8, time.Second))
}

// rest gives memory back that a bucket at rest does not need, and says when there will be more of it. b.mu is held.
func (b *Bucket) rest(now time.Time) (next time.Time) {
	if len(b.leases) == 0 {
		b.leases = nil
	}
	mono := b.mono(now)
	used := false
	for i := range b.local.logs {
		lg := &b.local.logs[i]
		if lg.since(mono-lg.limit.widest()) == 0 {
			continue
		}
		used = true
		if at := b.clock(lg.entries[len(lg.entries)-1].at + lg.limit.widest()); next.IsZero() || at.Before(next) {
			next = at.Add(time.Millisecond)
		}
	}
	if !used {
		b.local.logs = nil
	}
	return next
}

// arm sets the timer; zero stops it. b.mu is held.
func (b *Bucket) arm(next time.Time) {
	switch {
	case next.Equal(b.armed):
		return
	case next.IsZero():
		b.timer.Stop()
		b.timer = nil
	case b.timer == nil:
		var t *time.Timer
		t = time.AfterFunc(time.Until(next), func() { b.tick(&t) })
		b.timer = t
	default:
		b.timer.Reset(time.Until(next))
	}
	b.armed = next
}

// tick is the timer's. One that fired while another was set in its place does nothing.
func (b *Bucket) tick(t **time.Timer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if *t != b.timer {
		return
	}
	b.timer, b.armed = nil, time.Time{}
	b.step()
}

// mayGive says whether another slot may go out at all now. b.mu is held.
func (b *Bucket) mayGive() bool { return b.ramp == 0 || b.out < b.ramp }

// give gives due leases to waiters. b.mu is held.
func (b *Bucket) give(now time.Time) {
	if now.Before(b.blocked) {
		return
	}
	given := 0
	for _, l := range b.leases {
		if b.queue.n == 0 || l.due.After(now) || !b.mayGive() {
			break
		}
		given++
		if now.After(l.ends) { // this process has slept
			b.back(l)
			continue
		}
		w := b.queue.pop()
		w.got <- granted{slot: b.newSlot(w, l, now)}
		b.granted = now
		b.pace.given++
	}
	b.leases = slices.Delete(b.leases, 0, given)
}

// back notes a lease down as given back. b.mu is held.
func (b *Bucket) back(l lease) {
	if len(b.limits) > 0 {
		b.local.giveBack(l.mono)
		b.backs = append(b.backs, l.at)
	}
}

// giveUpLeases gives all leases back. b.mu is held.
func (b *Bucket) giveUpLeases() {
	for _, l := range b.leases {
		b.back(l)
	}
	b.leases = nil
}

// returnLeases gives back what nobody has wanted for long enough, and what may not be used now. It says when the next one is to go. b.mu is held.
func (b *Bucket) returnLeases(now time.Time) (next time.Time) {
	if len(b.leases) == 0 {
		return time.Time{}
	}
	if now.Before(b.blocked) {
		b.giveUpLeases()
		return time.Time{}
	}
	if l := b.leases[0]; now.Before(l.ends) {
		return l.ends
	}
	// Those that would follow soon go along.
	soon := now.Add(b.leases[0].ends.Sub(b.leases[0].due) / 2)
	kept := b.leases[:0]
	for _, l := range b.leases {
		if soon.Before(l.ends) {
			kept = append(kept, l)
			continue
		}
		b.back(l)
	}
	b.leases = kept
	if len(kept) == 0 {
		return time.Time{}
	}
	return kept[0].ends
}

// plan says when to ask the ledger for slots; zero: there is no need. b.mu is held.
func (b *Bucket) plan(now time.Time) time.Time {
	want, extra := b.appetite(now)
	if want+extra <= 0 {
		return time.Time{}
	}
	if now.Before(b.blocked) { // the ledger says so too, unless its clock jumped
		r := b.local.room(b.mono(now), b.limits)
		r.server = true
		b.waitFor(wait{free: b.blocked, until: b.blocked, room: r, told: b.told})
		return b.blocked
	}
	at := now
	if len(b.limits) > 0 {
		free, _ := b.local.slots(b.limits).next()
		ahead := b.limits[0].ahead()
		if mono := b.mono(now); free > mono+ahead { // this process alone has filled the window
			until := b.clock(free)
			b.waitFor(wait{free: until, until: until, room: b.local.room(mono, b.limits)})
			at = later(at, b.clock(free-ahead))
		}
	}
	at = later(at, b.look)
	if b.gap > 0 {
		until := b.granted.Add(b.gap)
		if until.After(at) {
			at = until
			b.waitFor(wait{free: until, until: until, room: b.local.room(b.mono(now), b.limits)})
		}
	}
	return at
}

func later(x, y time.Time) time.Time {
	if x.Before(y) {
		return y
	}
	return x
}

// appetite is how many slots to ask for: those that are waited for, and those that will be in a moment. b.mu is held.
func (b *Bucket) appetite(now time.Time) (want, extra int) {
	want = b.queue.n - len(b.leases)
	if b.ramp > 0 {
		want = min(want, b.ramp-b.out-len(b.leases)) // a slot that is out comes back and steps
	}
	if b.gap > 0 {
		want = min(want, 1-len(b.leases))
	}
	if b.ramp > 0 || b.gap > 0 || len(b.limits) == 0 || now.Sub(b.granted) > 2*paceEvery {
		return max(want, 0), 0
	}
	extra = b.pace.stock(now, b.trip, b.limits)
	if want < 0 {
		if extra+want < extra/2 { // what is there is enough for now
			return 0, 0
		}
		return 0, extra + want
	}
	return want, extra
}

// pace is how fast slots are used.
type pace struct {
	given int       // since
	since time.Time //
	rate  float64   // a second
	pause time.Time // until then nothing is fetched ahead: there was less than that
}

const (
	paceEvery = 5 * time.Millisecond // how long a count must be to tell a rate
	stockMost = 256
)

// count takes in what was given since it last did.
func (p *pace) count(now time.Time) {
	d := now.Sub(p.since)
	if d < paceEvery {
		return
	}
	if rate := float64(p.given) / d.Seconds(); d > time.Second {
		p.rate = rate
	} else {
		p.rate = (p.rate + rate) / 2
	}
	p.given, p.since = 0, now
}

// stock is how many slots will be asked for while the ledger is asked twice. It is nothing where requests come more slowly than the ledger answers, and
// little of any window.
func (p *pace) stock(now time.Time, trip time.Duration, limits []Limit) int {
	p.count(now)
	if now.Before(p.pause) {
		return 0
	}
	most := stockMost
	for _, l := range limits {
		most = min(most, l.N/64)
	}
	return min(int(p.rate*(2*trip+paceEvery).Seconds()), most)
}

// ask asks the ledger for slots, and gives them out.
func (b *Bucket) ask() {
	var g grant
	var c claim
	var limits []Limit
	var ledger int64 // its clock
	begin := time.Now()
	err := b.update(func(s *state, now int64) (changed bool) {
		b.mu.Lock()
		ledger, limits = now, b.limits
		c = b.claim(time.Now())
		b.mu.Unlock()
		if c.wants+c.extra == 0 {
			g = grant{}
			return c.leaves && s.leave(b.id, now)
		}
		g, changed = s.grant(now, limits, c)
		return changed
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asking = false
	now := time.Now()
	if err != nil {
		b.fail(err, now.Sub(begin))
		b.step()
		return
	}
	b.looked, b.failed = now, time.Time{}
	switch {
	case c.wants+c.extra > 0 && !slices.Equal(limits, b.limits): // they changed meanwhile
		b.lease(g, limits, ledger, now)
		b.giveUpLeases()
		b.look = time.Time{}
	case c.wants+c.extra > 0:
		if len(g.at) < c.wants+c.extra {
			b.pace.pause = now.Add(b.ahead())
		}
		b.lease(g, limits, ledger, now)
		b.others = max(g.used-b.local.room(b.mono(now), limits).used, 0)
		b.comeBack(g, limits, c, ledger, now)
	case c.leaves:
		b.announced = 0
	}
	b.step()
}

// comeBack plans the next look, and says what is waited for until then. b.mu is held.
func (b *Bucket) comeBack(g grant, limits []Limit, c claim, ledger int64, now time.Time) {
	b.announced = 0
	if g.look == 0 {
		b.look, b.wait.number = time.Time{}, 0
		return
	}
	if len(limits) > 0 {
		b.announced = c.owners
	}
	at := func(t int64) time.Time { return b.clock(b.clocks.own(t)) }
	until := at(g.look)
	b.look = later(until.Add(-b.lead(limits)), now.Add(time.Millisecond))
	// Another process may give a slot back, or have sent earlier than the ledger had it.
	every := min(max(g.limit.Window/10, min(g.limit.Window/4, time.Second)), time.Minute)
	if g.server {
		every = time.Minute // nobody makes a stay shorter
		b.told = time.Duration(g.told) * time.Microsecond
	}
	b.look = earlier(b.look, now.Add(max(every, time.Millisecond)))
	b.waitFor(wait{free: at(min(max(g.next, ledger), g.look)), until: until, room: g.room, told: b.told})
}

// lead is how long before a slot is free the ledger is asked for it. b.mu is held.
func (b *Bucket) lead(limits []Limit) time.Duration {
	if len(limits) == 0 {
		return 0
	}
	return min(b.trip*5/4+time.Millisecond, time.Duration(limits[0].ahead())*time.Microsecond*3/4)
}

// claim is what this process asks for now. b.mu is held.
func (b *Bucket) claim(now time.Time) (c claim) {
	c.id, c.owners = b.id, len(b.queue.waiting)
	c.wants, c.extra = b.appetite(now)
	c.leaves = b.announced > 0 && b.queue.n == 0
	if len(b.limits) == 0 {
		return c
	}
	ahead := b.limits[0].ahead()
	c.late, c.lag = b.limits[0].late(), b.lag.Microseconds()
	end, free := b.mono(now)+ahead, b.local.slots(b.limits)
	for c.most < c.wants+c.extra {
		if at, ok := free.next(); !ok || at > end {
			break
		}
		c.most++
	}
	return c
}

// lease takes in what the ledger has given. b.mu is held.
func (b *Bucket) lease(g grant, limits []Limit, ledger int64, now time.Time) {
	if len(limits) == 0 {
		for range g.at {
			b.leases = append(b.leases, lease{due: now, ends: now.Add(unlimitedRead)})
		}
		return
	}
	free, monos := b.local.slots(limits), make([]int64, 0, len(g.at))
	keep := time.Duration(limits[0].late()) * time.Microsecond / 2
	for i, at := range g.at {
		mono := b.mono(now)
		if at > ledger {
			mono = b.clocks.own(at)
		}
		if own, ok := free.next(); ok {
			mono = max(mono, own)
		}
		due := b.clock(mono)
		monos = append(monos, mono)
		b.leases = append(b.leases, lease{due: due, ends: later(due, now).Add(keep), at: g.logs[i], mono: mono})
	}
	b.local.take(b.mono(now), monos, limits)
	slices.SortStableFunc(b.leases, func(x, y lease) int { return x.due.Compare(y.due) })
}

// waitFor sets what the waiters wait for, and tells them where that is news. b.mu is held.
func (b *Bucket) waitFor(w wait) {
	const news = 500 * time.Millisecond
	if d := w.until.Sub(b.wait.until); b.wait.number > 0 && d < news && d > -news && w.room.server == b.wait.room.server {
		w.number = b.wait.number
		b.wait = w
		return
	}
	b.waits++
	w.number = b.waits
	b.wait = w
	b.tell()
}

// tell sends away who will not wait, and tells the others what they wait for, if they do not know. b.mu is held.
func (b *Bucket) tell() {
	v := b.wait
	wait := time.Until(v.free)
	spare := len(b.leases) // so many are served before; who they are is open until they are
	b.spared = false
	b.queue.answer(func(w *waiter) error {
		if w.told == v.number {
			return nil
		}
		// Who stands further back waits for further slots, but that is the queue's doing, not the quota's.
		if wait > w.MaxWait {
			if spare--; spare < 0 {
				return b.deferred(v.free, v.told, v.room)
			}
			b.spared = true
			return nil
		}
		w.told = v.number
		if w.OnWait == nil {
			return nil
		}
		ws := observe.WaitStarted{
			Reason: observe.WaitQuota, Bucket: b.label, Used: v.room.used, Limit: v.room.n, Window: v.room.limit.Window, Until: v.until,
		}
		if v.room.server {
			ws.Reason, ws.Told = observe.WaitServer, v.told
			if v.told == 0 {
				ws.Note = "no time given, backing off"
			} else if v.told > MaxBlock {
				ws.Note = "asked again after 24 hours"
			}
		}
		w.OnWait(ws)
		return nil
	})
}

// fail gives the ledger's error to all who wait. A ledger that did not answer in time is left alone for a moment: who asks then need not wait as long
// to hear the same. b.mu is held.
func (b *Bucket) fail(err error, took time.Duration) {
	if took > time.Second {
		b.failed, b.err = time.Now().Add(min(took/2, 5*time.Second)), err
	}
	b.queue.answer(func(*waiter) error { return err })
	b.wait.number, b.look, b.granted = 0, time.Time{}, time.Time{} // nothing is fetched ahead until something is given again
}

// update changes the bucket's state in the ledger, together with the moves and slots given back that have gathered. fn is nil where there is nothing
// else to do; it may be called more than once, and says whether it changed anything.
func (b *Bucket) update(fn func(s *state, now int64) (changed bool)) error {
	ctx, cancel := context.WithTimeout(context.Background(), ledgerTimeout)
	defer cancel()
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return fmt.Errorf("the quota ledger did not answer within %s: %w", ledgerTimeout, ctx.Err())
	}
	b.mu.Lock()
	moves, backs, limits, stamps := b.moves, b.backs, b.limits, b.stamps
	b.moves, b.backs, b.moved = nil, nil, time.Time{}
	b.mu.Unlock()
	if fn == nil && len(moves) == 0 && len(backs) == 0 {
		return nil
	}
	var read time.Time
	begin, clock, calls := time.Now(), int64(0), 0
	err := b.ledger.UpdateQuota(ctx, b.name, func(stored []byte, now time.Time) ([]byte, error) {
		t := now.UnixMicro()
		read, clock = time.Now(), t
		s, err := decode(stored)
		if err != nil {
			s = full(t, limits)
		}
		// The call before may have been committed all the same. What is then done twice could be done to somebody else's entry of the same moment:
		// only what makes an entry later is.
		calls++
		for _, m := range moves {
			if calls == 1 || m.to > m.from {
				s.move(t, m.from, m.to)
			}
		}
		if calls == 1 {
			for _, at := range backs {
				s.giveBack(at)
			}
			s.refund(b.id, len(backs))
		}
		s.adopt(t, limits)
		changed := s.settle(t) || len(moves) > 0 || len(backs) > 0 || err != nil
		if fn != nil && fn(s, t) {
			changed = true
		}
		if !changed {
			return stored, nil
		}
		return s.encode(), nil
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	if clock > 0 {
		b.clocks.sample(b.mono(begin), b.mono(read), clock)
	}
	if err != nil {
		if calls > 0 {
			moves, backs = slices.DeleteFunc(moves, func(m move) bool { return m.to <= m.from }), nil
		}
		b.moves, b.backs = append(moves, b.moves...), append(backs, b.backs...)
		return err
	}
	now := time.Now()
	b.read, b.stamped = read, stamps
	if len(limits) > 0 { // quick to grow, slow to shrink
		most := limits[0].lagMax()
		b.lag = max(min(now.Sub(read), most), b.lag-b.lag/16)
		b.trip = max(min(now.Sub(begin), most), b.trip-b.trip/16)
	}
	return nil
}

// flush writes the moves and slots given back.
func (b *Bucket) flush() error { return b.update(nil) }

// write is flush in the background, and says so if this process waits for nothing any more. What cannot be given back is unused, no more; who does not
// come back is not waited for long.
func (b *Bucket) write() {
	left := false
	err := b.update(func(s *state, now int64) bool {
		b.mu.Lock()
		left = b.announced > 0 && b.queue.n == 0
		b.mu.Unlock()
		return left && s.leave(b.id, now)
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.writing = false
	if left || err != nil {
		b.announced = 0
	}
	if err != nil {
		b.backs = nil
	}
	b.step()
}
