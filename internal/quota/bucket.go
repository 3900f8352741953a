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

// Manager has the buckets of this process, by name: connections that name the same bucket share it.
type Manager struct {
	ledger  Ledger
	mu      sync.Mutex
	buckets map[string]*Bucket
}

// NewManager keeps buckets whose state is in ledger.
func NewManager(ledger Ledger) *Manager {
	return &Manager{ledger: ledger, buckets: map[string]*Bucket{}}
}

// Bucket gives the bucket of that name. Limits that it did not have are added: all declared ones hold. label names it for people.
func (m *Manager) Bucket(name, label string, limits ...Limit) *Bucket {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.buckets[name]
	if b == nil {
		b = &Bucket{name: name, label: label, ledger: m.ledger, local: &state{}, begin: time.Now(), kick: make(chan struct{}, 1)}
		m.buckets[name] = b
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range limits {
		if !slices.Contains(b.limits, l) {
			b.limits = append(b.limits, l)
		}
	}
	slices.SortFunc(b.limits, func(x, y Limit) int { return cmp.Or(cmp.Compare(x.Window, y.Window), cmp.Compare(x.N, y.N)) })
	return b
}

// MaxBlock bounds a stay that a server asks for: after that it is asked again.
const MaxBlock = 24 * time.Hour

// maxRounds is how often in a row a bucket may be refused before its callers are told to come back later.
const maxRounds = 8

const ledgerTimeout = 30 * time.Second

// Bucket is one quota. Who wants to send takes a slot; slots are given by priority, then in the order of asking.
//
// A slot is durable in the ledger before it is given. The time kept there is that of the reservation; when the headers are written later than that,
// the entry is moved. It need not be moved at once: what another process could do wrong by the earlier time is to send when that entry
// leaves the window, which is a whole window away, and the margin covers what is moved too late by a process that dies. So moves ride
// with the next take, and only one that is late by more than half a margin is written by itself.
type Bucket struct {
	name, label string
	ledger      Ledger
	begin       time.Time // ground of the monotonic clock

	mu      sync.Mutex
	limits  []Limit
	waiters []*waiter
	pumping bool
	kick    chan struct{}
	seq     int64
	local   *state // what this process sent, on the monotonic clock: a clock that jumps gives no burst
	moves   []move
	out     int       // slots taken and not finished
	ramp    int       // slots that may be out at once after a refusal; 0: any number
	refused time.Time // the last refusal; what was taken before it proves nothing
	rounds  int       // refusals in a row
	read    bool      // an unlimited bucket's stored block has been read
	blocked time.Time
	told    time.Duration

	notBefore time.Time // the ledger said that there is nothing before
	last      room      // and why
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

// Label names the bucket for people.
func (b *Bucket) Label() string { return b.label }

// Limited says whether any limit is declared.
func (b *Bucket) Limited() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.limits) > 0
}

// Slot is the right to send one request now.
type Slot struct {
	b    *Bucket
	at   int64 // in the ledger
	mono int64 // in the local log
	took time.Time
	once sync.Once
	sent sync.Once
}

// Take waits for a slot. A wait that would be longer than maxWait is an *ads.Error of class deferred, at once. onWait is told of each wait that begins
// or changes while it lasts; it must not block.
func (b *Bucket) Take(ctx context.Context, prio platform.Priority, maxWait time.Duration, onWait func(observe.WaitStarted)) (*Slot, error) {
	w := &waiter{prio: prio, maxWait: maxWait, onWait: onWait, got: make(chan granted, 1)}
	b.mu.Lock()
	if len(b.limits) == 0 && b.read && b.ramp == 0 && !time.Now().Before(b.blocked) {
		b.out++
		b.mu.Unlock()
		return &Slot{b: b, took: time.Now()}, nil
	}
	b.seq++
	w.seq = b.seq
	b.waiters = append(b.waiters, w)
	slices.SortStableFunc(b.waiters, func(x, y *waiter) int { return cmp.Or(cmp.Compare(x.prio, y.prio), cmp.Compare(x.seq, y.seq)) })
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
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		b.mu.Lock()
		if len(b.waiters) == 0 {
			b.pumping = false
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
		wait, err := b.serve()
		if err != nil {
			b.failAll(err)
			continue
		}
		if wait <= 0 {
			continue
		}
		timer.Reset(wait)
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
	b.waiters = nil
}

func (b *Bucket) mono() int64 { return int64(time.Since(b.begin)/time.Microsecond) + 1<<40 }

// serve gives out what there is and says how long to wait for more; 0: look again at once.
func (b *Bucket) serve() (time.Duration, error) {
	b.mu.Lock()
	limits, want := slices.Clone(b.limits), len(b.waiters)
	if want == 0 {
		b.mu.Unlock()
		return 0, nil
	}
	if b.ramp > 0 {
		if want = min(want, b.ramp-b.out); want <= 0 {
			b.mu.Unlock()
			return time.Hour, nil // until a slot that is out comes back
		}
	}
	mono := b.mono()
	if own := b.local.room(mono, limits); own.free == 0 {
		// This process alone has filled the window: the ledger need not be asked.
		wait := time.Duration(own.next-mono) * time.Microsecond
		wait = b.tell(wait, own, 0)
		b.mu.Unlock()
		return wait, nil
	} else if own.free > 0 {
		want = min(want, own.free)
	}
	if wait := time.Until(b.notBefore); wait > 0 {
		wait = b.tell(wait, b.last, b.told)
		b.mu.Unlock()
		return wait, nil
	}
	moves := b.moves
	b.moves = nil
	b.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), ledgerTimeout)
	defer cancel()
	var r room
	var took, told int64
	k := 0
	err := b.ledger.UpdateQuota(ctx, b.name, func(stored []byte, now time.Time) ([]byte, error) {
		t := now.UnixMicro()
		s, err := decode(stored)
		if err != nil {
			s = full(t, limits)
		}
		for _, m := range moves {
			s.move(m.from, m.to)
		}
		changed := s.settle(t) || len(moves) > 0 || err != nil
		r, took, told, k = s.room(t, limits), t, s.told, 0
		if r.free == 0 {
			r.next -= t // from here on a length, since clocks differ
			if !changed {
				return stored, nil
			}
			return s.encode(), nil
		}
		k = want
		if r.free > 0 {
			k = min(k, r.free)
		}
		if len(limits) == 0 && !changed {
			return stored, nil
		}
		s.take(t, k, limits)
		return s.encode(), nil
	})
	if err != nil {
		return 0, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.read = true
	if k == 0 {
		wait := max(time.Duration(r.next)*time.Microsecond, time.Millisecond)
		if r.server {
			b.blocked, b.told = time.Now().Add(wait), time.Duration(told)*time.Microsecond
		}
		b.notBefore, b.last = time.Now().Add(wait), r
		return b.tell(wait, r, b.told), nil
	}
	b.local.take(mono, k, limits)
	given := min(k, len(b.waiters))
	now := time.Now()
	for _, w := range b.waiters[:given] {
		b.out++
		w.got <- granted{slot: &Slot{b: b, at: took, mono: mono, took: now}}
	}
	b.waiters = slices.Delete(b.waiters, 0, given)
	for range k - given { // someone left while the ledger was asked
		s := &Slot{b: b, at: took, mono: mono, took: now}
		b.out++
		go s.GiveBack()
	}
	return 0, nil
}

// tell sends away who will not wait that long, and tells the others what they wait for. It gives the time to wait, 0 when nobody is left.
func (b *Bucket) tell(wait time.Duration, r room, told time.Duration) time.Duration {
	until := time.Now().Add(wait)
	kept := b.waiters[:0]
	for i, w := range b.waiters {
		// Who stands further back waits for further slots, but that is the queue's doing, not the quota's.
		if wait > w.maxWait {
			w.got <- granted{err: b.deferred(until, told, r)}
			continue
		}
		kept = append(kept, b.waiters[i])
		if d := until.Sub(w.until); w.onWait != nil && (d > 500*time.Millisecond || d < -500*time.Millisecond) {
			w.until = until
			ws := observe.WaitStarted{Reason: observe.WaitQuota, Bucket: b.label, Used: r.used, Limit: r.n, Window: r.limit.Window, Until: until}
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
		return 0
	}
	return wait
}

func (b *Bucket) deferred(until time.Time, told time.Duration, r room) error {
	e := &ads.Error{Class: ads.ClassDeferred, Code: "quota", Until: until.UTC(), Told: told, Bucket: b.label}
	at := until.UTC().Format("2006-01-02 15:04:05 UTC")
	switch {
	case !r.server:
		e.Message = fmt.Sprintf("deferred until %s: the quota of %s is used up (%d of %d in %s)", at, b.label, r.used, r.n, r.limit.Window)
	case told > MaxBlock:
		e.Code, e.Message = "told", fmt.Sprintf("deferred until %s: the platform asked %s to wait for %s, capped at 24 hours", at, b.label, longTime(told))
	case told > 0:
		e.Code, e.Message = "told", fmt.Sprintf("deferred until %s: the platform asked %s to wait for %s", at, b.label, told.Round(time.Second))
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
	return d.Round(time.Second).String()
}

// Sent says that the request's headers were written just now: from then on the server may count it.
func (s *Slot) Sent() {
	s.sent.Do(func() {
		late := time.Since(s.took)
		b := s.b
		b.mu.Lock()
		defer b.mu.Unlock()
		if late < 5*time.Millisecond || len(b.limits) == 0 {
			return
		}
		m := move{from: s.at, to: s.at + late.Microseconds()}
		b.local.move(s.mono, s.mono+late.Microseconds())
		s.at, s.mono = m.to, s.mono+late.Microseconds()
		b.moves = append(b.moves, m)
		if late > b.limits[0].margin()/2 {
			go b.settleMoves()
		}
	})
}

func (b *Bucket) settleMoves() {
	b.mu.Lock()
	moves := b.moves
	b.moves = nil
	b.mu.Unlock()
	if len(moves) == 0 {
		return
	}
	err := b.update(func(s *state, _ int64) {
		for _, m := range moves {
			s.move(m.from, m.to)
		}
	})
	if err != nil {
		b.mu.Lock()
		b.moves = append(moves, b.moves...)
		b.mu.Unlock()
	}
}

func (b *Bucket) update(fn func(s *state, now int64)) error {
	ctx, cancel := context.WithTimeout(context.Background(), ledgerTimeout)
	defer cancel()
	b.mu.Lock()
	limits := slices.Clone(b.limits)
	b.mu.Unlock()
	return b.ledger.UpdateQuota(ctx, b.name, func(stored []byte, now time.Time) ([]byte, error) {
		s, err := decode(stored)
		if err != nil {
			s = full(now.UnixMicro(), limits)
		}
		fn(s, now.UnixMicro())
		return s.encode(), nil
	})
}

// finish takes the slot out of those that are out. It reports whether this was the first end of it.
func (s *Slot) finish() (first bool) {
	s.once.Do(func() {
		first = true
		s.b.mu.Lock()
		s.b.out--
		if s.b.ramp > 0 {
			s.b.wake()
		}
		s.b.mu.Unlock()
	})
	return first
}

// GiveBack says that nothing was sent, or that the platform does not count it: the slot is free again.
func (s *Slot) GiveBack() {
	if !s.finish() {
		return
	}
	b := s.b
	b.mu.Lock()
	limited := len(b.limits) > 0
	if limited {
		b.local.giveBack(s.mono)
	}
	at := s.at
	b.mu.Unlock()
	if limited {
		b.settleMoves()
		_ = b.update(func(st *state, _ int64) { st.giveBack(at) }) // a slot that cannot be given back is a slot unused, no more
	}
	b.mu.Lock()
	b.notBefore = time.Time{}
	b.wake()
	b.mu.Unlock()
}

// Done says that the request was answered, or not, but counts. accepted: the server took it.
func (s *Slot) Done(accepted bool) {
	if !s.finish() || !accepted {
		return
	}
	b := s.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.took.Before(b.refused) {
		return
	}
	b.rounds = 0
	if b.ramp > 0 {
		if b.ramp *= 2; b.ramp > 64 {
			b.ramp = 0
		}
		b.wake()
	}
}

// Refused says that the server refused the request for quota. The whole bucket stays away for wait, in every process. told is what the server
// named (0: nothing). counted: the refusal counts against the quota. It gives an *ads.Error of class deferred after maxRounds refusals in a row,
// and says whether others seem to use the quota: effective of declared.
func (s *Slot) Refused(wait, told time.Duration, counted bool) (effective, declared int, err error) {
	if !s.finish() {
		return 0, 0, nil
	}
	b := s.b
	wait = min(max(wait, 0), MaxBlock)
	b.settleMoves()
	b.mu.Lock()
	limits, at := slices.Clone(b.limits), s.at
	if !counted {
		b.local.giveBack(s.mono)
	}
	took := s.took
	b.mu.Unlock()
	var round bool
	err = b.update(func(st *state, now int64) {
		sent := at
		if sent == 0 { // an unlimited bucket's slot has no time in the ledger
			sent = now - time.Since(took).Microseconds()
		}
		round = st.refuse(sent, now, wait.Microseconds(), told.Microseconds(), counted, limits)
		effective = st.allowed
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	if until := time.Now().Add(wait); until.After(b.blocked) {
		b.blocked, b.told = until, told
	}
	b.ramp, b.notBefore, b.refused = 1, time.Time{}, time.Now()
	if round {
		b.rounds++
	}
	b.wake()
	if err == nil && b.rounds >= maxRounds {
		b.rounds = 0
		err = &ads.Error{
			Class: ads.ClassDeferred, Code: "refused", Until: b.blocked.UTC(), Told: told, Bucket: b.label,
			Message: fmt.Sprintf("the platform refused %s %d times in a row although every wait was kept", b.label, maxRounds),
			Hint:    "another program may use up this quota; run again later: it goes on where it stopped",
		}
	}
	return effective, tightest(limits).N, err
}

// Use is the bucket's window now, as this process sees it.
func (b *Bucket) Use() observe.QuotaState {
	b.mu.Lock()
	defer b.mu.Unlock()
	mono := b.mono()
	r := b.local.room(mono, b.limits)
	q := observe.QuotaState{Bucket: b.label, Used: r.used, Limit: r.n, Window: r.limit.Window}
	if r.free == 0 {
		q.NextFree = time.Now().Add(time.Duration(r.next-mono) * time.Microsecond)
	}
	return q
}

// Hold keeps the bucket closed for wait because a good answer said that nothing is left. told is what it said.
func (b *Bucket) Hold(wait, told time.Duration) {
	b.mu.Lock()
	until := time.Now().Add(wait)
	if d := until.Sub(b.blocked); d < time.Second {
		b.mu.Unlock()
		return
	}
	b.blocked, b.told, b.notBefore = until, told, time.Time{}
	b.mu.Unlock()
	_ = b.update(func(s *state, now int64) {
		if u := now + wait.Microseconds(); u > s.until {
			s.until, s.told, s.since = u, told.Microseconds(), now
		}
	})
}
