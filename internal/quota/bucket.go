package quota

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"adsync/internal/observe"
)

// MaxBlock bounds a stay that a server asks for: after that it is asked again.
const MaxBlock = 24 * time.Hour

const (
	maxRounds     = 8                // refusals in a row before a caller is told to come back later
	maxRamp       = 64               // requests out at once, from which on a bucket that was refused counts as well
	maxUnsent     = 15 * time.Minute // for so long a slot whose request is not sent keeps its place; no attempt takes longer
	ledgerTimeout = 10 * time.Second // of one change in the ledger
	unlimitedRead = 2 * time.Second  // how often a bucket without limits looks for a stay that another process was told of
	maxGap        = 30 * time.Second // between two requests of a quota that the platform says is all but used up
)

// Bucket is one quota. Who wants to send takes a slot; slots are given in the order of queue.
//
// A slot is durable in the ledger before it is given, logged for a moment from now: by what the ledger takes to say so, and a little (Limit.late). What the
// server counts is the time at which the request arrives. So when a connection is there (Slot.Ready), a slot whose entry lies in the past by then is
// moved ahead again, durably, before the request is written: whenever a process dies, what it sent is logged for no earlier than that. When the
// headers have been written (Slot.Sent), the entry is moved back to that moment. That need not be in the ledger at once: others see the entry
// late, which is the safe side, and the move rides with this process's next change.
// A slot whose request is not written for half of a window, since no connection comes about, is moved to now again and again: its entry must not
// leave the window before its request was sent.
//
// The ledger is asked for several slots at once, also for those that will be free in a moment (Limit.ahead) and, while requests come faster than it answers, for
// some that will be wanted in a moment. They are kept as leases until they are due and wanted; a lease that nobody wants goes back.
//
// Nothing runs for a bucket between events: step, called whenever something happens, sets the timer for what comes next.
type Bucket struct {
	name, label string
	id          uint64 // of this process, among those that share the bucket
	ledger      Ledger
	begin       time.Time     // ground of the monotonic clock
	turn        chan struct{} // held while the ledger is asked; not a mutex, since that takes time

	mu              sync.Mutex
	limits          []Limit // shortest window first; replaced, never changed in place
	queue           queue
	leases          []lease // by due
	seq             int64
	local           *state // what this process sent, on the monotonic clock: a wall clock that jumps gives no burst
	moves           []move
	stamps, stamped int       // moves that were made, and that the ledger has
	moved           time.Time // when the first of them was made; zero: there is none, or the ledger failed
	backs           []int64
	timer           *time.Timer // calls step
	armed           time.Time   // when; zero: not at all

	asking    bool      // the ledger is being asked for slots
	writing   bool      // moves, or slots that go back, are being written
	announced int       // owners that the ledger knows to wait; 0: it thinks that none does
	look      time.Time // the ledger need not be asked for slots before
	looked    time.Time // when it was asked last
	wait      wait      // what the waiters wait for
	waits     int       // how many waits there were
	spared    bool      // someone who would not wait was kept, since a lease may be theirs

	out     int           // slots taken and not finished
	ramp    int           // slots that may be out at once after a refusal; 0: any number
	rounds  int           // rounds of refusals in a row
	refused time.Time     // the last refusal; what was taken before it proves nothing
	blocked time.Time     // the server asked for it
	told    time.Duration // what it named
	gap     time.Duration // between grants, when the platform says that its quota is nearly used up

	granted time.Time // the last slot given
	pace    pace

	clocks clocks
	lag    time.Duration // what the ledger takes from its clock's reading to its answer, of late
	trip   time.Duration // and in all
	read   time.Time     // when the ledger last answered
	others int           // slots that others had of the window then
	failed time.Time     // until then the ledger is not asked, since it has just failed to answer in time
	err    error         // the failure
}

type move struct{ from, to int64 }

// lease is a slot that the ledger has given and nobody has yet.
type lease struct {
	due      time.Time // not to be used before
	ends     time.Time // to be given back after
	at, mono int64     // its times in the ledger and in the local log
}

// wait is what waiters are told of.
type wait struct {
	number int       // of the wait, from 1; 0: there is none
	free   time.Time // when the quota has a slot again
	until  time.Time // when this process has one
	room   room
	told   time.Duration
}

func newBucket(ledger Ledger, name, label string) *Bucket {
	return &Bucket{name: name, label: label, id: rand.Uint64(), ledger: ledger, local: &state{}, begin: time.Now(), turn: make(chan struct{}, 1)}
}

// limit replaces the limits.
func (b *Bucket) limit(limits []Limit) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.Equal(limits, b.limits) {
		return
	}
	b.giveUpLeases()
	b.limits, b.look = limits, time.Time{}
	b.local.adopt(b.mono(time.Now()), limits)
	b.step()
}

// idle says that nobody waits for a slot or has one.
func (b *Bucket) idle() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.queue.n == 0 && b.out == 0 && len(b.leases) == 0 && !b.asking && !b.writing
}

// Label names the bucket for people.
func (b *Bucket) Label() string { return b.label }

// Limited says whether any limit is declared.
func (b *Bucket) Limited() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.limits) > 0
}

// Take waits for a slot. OnWait is told of each wait that begins or changes while it lasts; it must not block and must not call the bucket. An
// error of the ledger is given as it is; one that does not answer in time gives an ads.Error of ClassDeferred.
func (b *Bucket) Take(ctx context.Context, a Ask) (*Slot, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	b.mu.Lock()
	now := time.Now()
	seq := a.Place
	if seq == 0 {
		b.seq++
		seq = b.seq
	}
	if len(b.limits) == 0 && b.ramp == 0 && b.gap == 0 && now.Sub(b.read) < unlimitedRead && !now.Before(b.blocked) {
		b.out++
		b.mu.Unlock()
		return &Slot{b: b, place: seq, owner: a.Owner, took: now}, nil
	}
	if now.Before(b.failed) {
		defer b.mu.Unlock()
		return nil, b.err
	}
	w := &waiter{Ask: a, seq: seq, got: make(chan granted, 1)}
	b.queue.push(w)
	if b.announced > 0 && len(b.queue.waiting) > b.announced && now.Before(b.look) {
		b.look = earlier(b.look, b.looked.Add(b.patience(now)))
	}
	b.step()
	if b.wait.number > 0 && w.told != b.wait.number {
		b.tell()
	}
	b.mu.Unlock()
	select {
	case g := <-w.got:
		return g.slot, g.err
	case <-ctx.Done():
		b.mu.Lock()
		b.queue.remove(w)
		b.step()
		b.mu.Unlock()
		select {
		case g := <-w.got: // given at the same moment
			if g.slot != nil {
				g.slot.GiveBack()
			}
		default:
		}
		return nil, context.Cause(ctx)
	}
}

// ahead is how long before it is free a slot can be taken. b.mu is held.
func (b *Bucket) ahead() time.Duration {
	if len(b.limits) == 0 {
		return 0
	}
	return time.Duration(b.limits[0].ahead()) * time.Microsecond
}

// patience is how long after a look others may believe that fewer owners wait here than do. b.mu is held.
func (b *Bucket) patience(now time.Time) time.Duration {
	ahead := b.ahead()
	if b.wait.free.Before(now.Add(ahead)) { // slots are being shared out
		return max(2*b.trip, ahead/8)
	}
	return ahead
}

func earlier(x, y time.Time) time.Time {
	if y.Before(x) {
		return y
	}
	return x
}

// Refusals is the number of refusals in a row, rounds of them counted once.
func (b *Bucket) Refusals() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rounds
}

// Use is the bucket's window now: what this process has sent, and what others had when the ledger was last read.
func (b *Bucket) Use() observe.QuotaState {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	mono := b.mono(now)
	r := b.local.room(mono, b.limits)
	q := observe.QuotaState{Bucket: b.label, Used: r.used, Limit: r.n, Window: r.limit.Window, Waiting: b.queue.n, Owners: len(b.queue.waiting)}
	if age := now.Sub(b.read); age < r.limit.Window && b.others > 0 { // they leave the window one by one
		q.Used = min(q.Used+int(float64(b.others)*(1-age.Seconds()/r.limit.Window.Seconds())+0.5), max(r.n, q.Used))
	}
	if r.free == 0 {
		q.NextFree = b.clock(r.next)
	}
	if b.wait.number > 0 && q.NextFree.Before(b.wait.until) && now.Before(b.wait.until) {
		q.NextFree = b.wait.until
	}
	if q.NextFree.Before(b.blocked) && now.Before(b.blocked) {
		q.NextFree = b.blocked
	}
	return q
}

// Hold keeps the bucket closed for wait because a good answer said that nothing is left. told is what it said.
func (b *Bucket) Hold(wait, told time.Duration) {
	wait = min(wait, MaxBlock)
	b.mu.Lock()
	until := time.Now().Add(wait)
	if until.Sub(b.blocked) < time.Second {
		b.mu.Unlock()
		return
	}
	b.blocked, b.told = until, told
	b.step()
	b.mu.Unlock()
	// Should the ledger fail here, the next take says so; this process keeps the stay anyway.
	_ = b.update(func(s *state, now int64) bool {
		u := now + wait.Microseconds()
		if u > s.until {
			s.until, s.told = u, told.Microseconds()
		}
		return true
	})
}

// Usage takes in what the platform says is used of a quota, 1 being all. From 90 % on requests are spread out, past 100 % more and more; below
// 85 % no longer. It reports whether that has just begun.
func (b *Bucket) Usage(share float64) (slowed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case share >= 0.90:
		slowed = b.gap == 0
		pace := time.Second
		if l := tightest(b.limits); l.N > 0 {
			pace = l.Window / time.Duration(l.N)
		}
		if share >= 1 {
			b.gap = min(max(2*b.gap, 2*pace), max(maxGap, pace))
		} else {
			b.gap = pace
		}
	case share < 0.85:
		b.gap = 0
		b.step()
	}
	return slowed
}
