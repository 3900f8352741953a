package quota

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/platform"
)

// MaxBlock bounds a stay that a server asks for: after that it is asked again.
const MaxBlock = 24 * time.Hour

const (
	maxRounds     = 8                // refusals in a row before a caller is told to come back later
	maxRamp       = 64               // requests out at once, from which on a bucket that was refused counts as well
	maxUnsent     = 15 * time.Minute // for so long a slot whose request is not sent keeps its place; no attempt takes longer
	ledgerTimeout = 30 * time.Second // of one change in the ledger
	unlimitedRead = 2 * time.Second  // how often a bucket without limits looks for a stay that another process was told of
	maxGap        = 30 * time.Second // between two requests of a quota that the platform says is all but used up
)

// Bucket is one quota. Who wants to send takes a slot; slots are given by priority, then in the order of asking.
//
// A slot is durable in the ledger before it is given, logged for a moment from now: by what the ledger takes to say so, and a little (Limit.late). What the
// server counts is the time at which the request arrives. So when a connection is there (Slot.Ready), a slot whose entry lies in the past by then is
// moved ahead again, durably, before the request is written: whenever a process dies, what it sent is logged for no earlier than that. When the
// headers have been written (Slot.Sent), the entry is moved back to that moment. That need not be in the ledger at once: others see the entry
// late, which is the safe side, and the move rides with this process's next change.
// A slot whose request is not written for half of a window, since no connection comes about, is moved to now again and again: its entry must not
// leave the window before its request was sent.
type Bucket struct {
	name, label string
	ledger      Ledger
	begin       time.Time     // ground of the monotonic clock
	turn        chan struct{} // held while the ledger is asked; not a mutex, since that takes time

	mu      sync.Mutex
	limits  []Limit // shortest window first; replaced, never changed in place
	waiters []*waiter
	seq     int64
	pumping bool
	kick    chan struct{}
	local   *state // what this process sent, on the monotonic clock: a wall clock that jumps gives no burst
	moves   []move
	backs   []int64

	out     int           // slots taken and not finished
	ramp    int           // slots that may be out at once after a refusal; 0: any number
	rounds  int           // rounds of refusals in a row
	refused time.Time     // the last refusal; what was taken before it proves nothing
	blocked time.Time     // the server asked for it
	told    time.Duration // what it named
	gap     time.Duration // between grants, when the platform says that its quota is nearly used up
	granted time.Time     // the last grant

	lag     time.Duration // what the ledger takes from its clock's reading to its answer, of late
	read    time.Time     // when the ledger was last asked
	recheck time.Time     // the ledger need not be asked before
	freeAt  time.Time     // when it said that the next slot is free
	last    room          // and why
}

type move struct{ from, to int64 }

type waiter struct {
	prio    platform.Priority
	seq     int64
	maxWait time.Duration
	onWait  func(observe.WaitStarted)
	got     chan granted
	until   time.Time // last told to onWait
}

type granted struct {
	slot *Slot
	err  error
}

func newBucket(ledger Ledger, name, label string) *Bucket {
	return &Bucket{
		name: name, label: label, ledger: ledger, local: &state{}, begin: time.Now(),
		kick: make(chan struct{}, 1), turn: make(chan struct{}, 1),
	}
}

// limit replaces the limits.
func (b *Bucket) limit(limits []Limit) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.Equal(limits, b.limits) {
		return
	}
	b.limits, b.recheck = limits, time.Time{}
	b.wake()
}

// idle says that nobody waits for a slot or has one.
func (b *Bucket) idle() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiters) == 0 && b.out == 0
}

// Label names the bucket for people.
func (b *Bucket) Label() string { return b.label }

// Limited says whether any limit is declared.
func (b *Bucket) Limited() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.limits) > 0
}

// Ask is what somebody who wants to send says.
type Ask struct {
	Owner    string            // who: slots are shared out evenly between owners
	Place    int64             // in the queue, where the request had a slot before (Slot.Place); 0: at the end
	Priority platform.Priority // among the requests of one owner, and for a head start before other owners
	MaxWait  time.Duration     // a wait that would be longer is an *ads.Error of class deferred, at once
	OnWait   func(observe.WaitStarted)
}

// Take waits for a slot. OnWait is told of each wait that begins or changes while it lasts; it must not block and must not call the bucket. An
// error of the ledger is given as it is.
func (b *Bucket) Take(ctx context.Context, a Ask) (*Slot, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	w := &waiter{prio: a.Priority, maxWait: a.MaxWait, onWait: a.OnWait, got: make(chan granted, 1)}
	b.mu.Lock()
	if w.seq = a.Place; a.Place == 0 {
		b.seq++
		w.seq = b.seq
	}
	if now := time.Now(); len(b.limits) == 0 && b.ramp == 0 && b.gap == 0 && now.Sub(b.read) < unlimitedRead && !now.Before(b.blocked) {
		b.out++
		b.mu.Unlock()
		return &Slot{b: b, place: w.seq, took: now, stamped: now}, nil
	}
	at, _ := slices.BinarySearchFunc(b.waiters, w, func(x, y *waiter) int { return cmp.Or(cmp.Compare(x.prio, y.prio), cmp.Compare(x.seq, y.seq)) })
	b.waiters = slices.Insert(b.waiters, at, w)
	if !b.pumping {
		b.pumping = true
		go b.pump()
	} else {
		b.wake()
	}
	b.mu.Unlock()
	select {
	case g := <-w.got:
		return g.slot, g.err
	case <-ctx.Done():
		b.mu.Lock()
		b.waiters = slices.DeleteFunc(b.waiters, func(x *waiter) bool { return x == w })
		b.wake()
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

func (b *Bucket) wake() {
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

// pump serves the waiters and ends with the last of them, so that an idle bucket has no goroutine.
func (b *Bucket) pump() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		b.mu.Lock()
		if len(b.waiters) == 0 {
			b.pumping = false
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
		until, err := b.serve()
		if err != nil {
			b.failAll(err)
			continue
		}
		if until.IsZero() {
			continue
		}
		timer.Reset(max(time.Until(until), time.Millisecond))
		select {
		case <-timer.C:
		case <-b.kick:
		}
	}
}

func (b *Bucket) failAll(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range b.waiters {
		w.got <- granted{err: err}
	}
	clear(b.waiters)
	b.waiters = b.waiters[:0]
}

// mono is a time on the local log's clock.
func (b *Bucket) mono(t time.Time) int64 { return t.Sub(b.begin).Microseconds() + 1<<40 }

// serve gives out what there is and says until when there is nothing more; zero: look again at once.
func (b *Bucket) serve() (time.Time, error) {
	b.mu.Lock()
	want, until := b.mayTake(time.Now())
	limits, late := b.limits, int64(0)
	if len(limits) > 0 {
		late = limits[0].late() + b.lag.Microseconds()
	}
	b.mu.Unlock()
	if want == 0 {
		return until, nil
	}

	var r room
	var took, told int64
	var anchor time.Time // our clock at the moment took on the ledger's
	k := 0
	err := b.update(func(s *state, now int64) (changed bool) {
		anchor = time.Now()
		r, took, told, k = s.room(now, limits), now, s.told, 0
		if r.free == 0 {
			return false
		}
		k = want
		if r.free > 0 {
			k = min(k, r.free)
		}
		if len(limits) > 0 {
			took = now + late
			s.take(now, took, k, limits)
		}
		return len(limits) > 0
	})
	if err != nil {
		return time.Time{}, err
	}
	b.mu.Lock()
	b.read = anchor
	if len(limits) > 0 { // quick to grow, slow to shrink
		took := min(time.Since(anchor), limits[0].lagMax())
		b.lag = max(took, b.lag-b.lag/16)
	}
	if k == 0 {
		b.freeAt, b.last = anchor.Add(time.Duration(max(r.next-took, 1000))*time.Microsecond), r // took is now: nothing was taken
		b.recheck = b.freeAt
		if every := min(max(r.limit.Window/10, time.Second), time.Minute); b.recheck.Sub(anchor) > every {
			b.recheck = anchor.Add(every) // another process may give a slot back
		}
		if r.server {
			b.told = time.Duration(told) * time.Microsecond
		}
		defer b.mu.Unlock()
		return b.tell(b.freeAt, b.recheck, r, b.told), nil
	}
	mono := b.mono(anchor)
	b.local.take(mono, mono, k, limits)
	b.granted = anchor
	given := min(k, len(b.waiters))
	for _, w := range b.waiters[:given] {
		slot := b.newSlot(took, mono, anchor, late)
		slot.place = w.seq
		w.got <- granted{slot: slot}
	}
	b.waiters = slices.Delete(b.waiters, 0, given)
	var over []*Slot
	for range k - given { // someone left while the ledger was asked
		over = append(over, b.newSlot(took, mono, anchor, late))
	}
	b.mu.Unlock()
	for _, s := range over {
		s.end()
	}
	if len(over) > 0 {
		_ = b.flush() // what cannot be given back is unused, no more
	}
	return time.Time{}, nil
}

// mayTake says how many slots to ask the ledger for, or until when there is no use in asking. b.mu is held.
func (b *Bucket) mayTake(now time.Time) (want int, until time.Time) {
	if want = len(b.waiters); want == 0 {
		return 0, time.Time{}
	}
	if b.ramp > 0 {
		if want = min(want, b.ramp-b.out); want <= 0 {
			return 0, now.Add(time.Minute) // a slot that is out comes back before
		}
	}
	if now.Before(b.blocked) { // the ledger says so too, unless its clock jumped
		r := b.last
		r.server = true
		return 0, b.tell(b.blocked, b.blocked, r, b.told)
	}
	mono := b.mono(now)
	own := b.local.room(mono, b.limits)
	if own.free == 0 { // this process alone has filled the window
		at := now.Add(time.Duration(own.next-mono) * time.Microsecond)
		return 0, b.tell(at, at, own, 0)
	}
	if own.free > 0 {
		want = min(want, own.free)
	}
	if now.Before(b.recheck) {
		return 0, b.tell(b.freeAt, b.recheck, b.last, b.told)
	}
	if b.gap > 0 {
		if at := b.granted.Add(b.gap); now.Before(at) {
			return 0, b.tell(at, at, own, 0)
		}
		want = 1
	}
	return want, time.Time{}
}

// tell sends away who will not wait until free, and tells the others what they wait for. It gives when to look again: at look, or zero when
// nobody is left. b.mu is held.
func (b *Bucket) tell(free, look time.Time, r room, told time.Duration) time.Time {
	wait := time.Until(free)
	kept := b.waiters[:0]
	for _, w := range b.waiters {
		// Who stands further back waits for further slots, but that is the queue's doing, not the quota's.
		if wait > w.maxWait {
			w.got <- granted{err: b.deferred(free, told, r)}
			continue
		}
		kept = append(kept, w)
		if d := free.Sub(w.until); w.onWait != nil && (d > 500*time.Millisecond || d < -500*time.Millisecond) {
			w.until = free
			ws := observe.WaitStarted{Reason: observe.WaitQuota, Bucket: b.label, Used: r.used, Limit: r.n, Window: r.limit.Window, Until: free}
			if r.server {
				ws.Reason, ws.Told = observe.WaitServer, told
				if told == 0 {
					ws.Note = "no time given, backing off"
				} else if told > MaxBlock {
					ws.Note = "asked again after 24 hours"
				}
			}
			w.onWait(ws)
		}
	}
	clear(b.waiters[len(kept):])
	b.waiters = kept
	if len(kept) == 0 {
		return time.Time{}
	}
	return look
}

func (b *Bucket) deferred(until time.Time, told time.Duration, r room) error {
	e := &ads.Error{Class: ads.ClassDeferred, Code: "quota", Until: until.UTC(), Told: told, Bucket: b.label}
	at := until.UTC().Format("2006-01-02 15:04:05 UTC")
	switch {
	case !r.server:
		e.Message = fmt.Sprintf("deferred until %s: the quota of %s is used up (%d of %d in %s)", at, b.label, r.used, r.n, shortDuration(r.limit.Window))
	case told > MaxBlock:
		e.Code, e.Message = "told", fmt.Sprintf("deferred until %s: the platform asked %s to wait, told %s, capped at 24 hours", at, b.label, longTime(told))
	case told > 0:
		e.Code, e.Message = "told", fmt.Sprintf("deferred until %s: the platform asked %s to wait, told %s", at, b.label, shortDuration(told.Round(time.Second)))
	default:
		e.Code, e.Message = "told", fmt.Sprintf("deferred until %s: the platform refuses %s", at, b.label)
	}
	e.Hint = "run again then: it goes on where it stopped"
	return e
}

func longTime(d time.Duration) string {
	switch days := d.Hours() / 24; {
	case days >= 730:
		return fmt.Sprintf("%.0f years", days/365)
	case days >= 2:
		return fmt.Sprintf("%.0f days", days)
	}
	return shortDuration(d.Round(time.Second))
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
	moves, backs, limits := b.moves, b.backs, b.limits
	b.moves, b.backs = nil, nil
	b.mu.Unlock()
	if fn == nil && len(moves) == 0 && len(backs) == 0 {
		return nil
	}
	err := b.ledger.UpdateQuota(ctx, b.name, func(stored []byte, now time.Time) ([]byte, error) {
		t := now.UnixMicro()
		s, err := decode(stored)
		if err != nil {
			s = full(t, limits)
		}
		for _, m := range moves {
			s.move(m.from, m.to)
		}
		for _, at := range backs {
			s.giveBack(at)
		}
		changed := s.settle(t) || len(moves) > 0 || len(backs) > 0 || err != nil
		if fn != nil && fn(s, t) {
			changed = true
		}
		if !changed {
			return stored, nil
		}
		return s.encode(), nil
	})
	if err != nil {
		// The moves are tried again: done twice, they can only make an entry later. A slot given back twice could free somebody else's.
		b.mu.Lock()
		b.moves = append(moves, b.moves...)
		b.mu.Unlock()
	}
	return err
}

// flush writes the moves and slots given back.
func (b *Bucket) flush() error { return b.update(nil) }

// Refusals is the number of refusals in a row, rounds of them counted once.
func (b *Bucket) Refusals() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rounds
}

// Use is the bucket's window now, as this process sees it.
func (b *Bucket) Use() observe.QuotaState {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	mono := b.mono(now)
	r := b.local.room(mono, b.limits)
	q := observe.QuotaState{Bucket: b.label, Used: r.used, Limit: r.n, Window: r.limit.Window}
	if r.free == 0 {
		q.NextFree = now.Add(time.Duration(r.next-mono) * time.Microsecond)
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
	b.wake()
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
		b.wake()
	}
	return slowed
}
