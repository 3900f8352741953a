package quota

import (
	"slices"
	"time"
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
