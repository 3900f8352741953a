package quota

import (
	"slices"
	"time"
)

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
