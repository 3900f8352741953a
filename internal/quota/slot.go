package quota

import (
	"fmt"
	"time"

	"adsync/internal/ads"
)

// Slot is the right to send one request now. It ends with the first of GiveBack, Done and Refused; what is called after that does nothing.
type Slot struct {
	b     *Bucket
	took  time.Time // when it was given
	place int64
	owner string

	// Under b.mu.
	at, mono int64 // in the ledger, in the local log
	stamp    int   // the number of the move that brought it there
	sent     bool
	ended    bool
	keep     *time.Timer // until the request is sent
}

// Place is where the slot's owner stood in the queue.
func (s *Slot) Place() int64 { return s.place }

// newSlot makes a slot of a lease. b.mu is held.
func (b *Bucket) newSlot(w *waiter, l lease, now time.Time) *Slot {
	s := &Slot{b: b, place: w.seq, owner: w.Owner, took: now, at: l.at, mono: l.mono}
	b.out++
	if s.at > 0 && len(b.limits) > 0 {
		s.keep = time.AfterFunc(b.limits[0].Window/2, s.refresh)
	}
	return s
}

// restamp moves the slot's entries to now, in the ledger to late µs after it. It reports whether that is later than the ledger has it. b.mu is held.
func (s *Slot) restamp(now time.Time, late int64) (later bool) {
	b := s.b
	mono := b.mono(now)
	to := b.clocks.ledger(mono) + late
	later = to > s.at
	b.moves = append(b.moves, move{from: s.at, to: to})
	b.stamps++
	s.stamp = b.stamps
	if b.moved.IsZero() {
		b.moved = now
	}
	b.local.move(mono, s.mono, mono)
	s.at, s.mono = to, mono
	return later
}

// Ready says that the request will be written now. It returns when the ledger has the slot for no earlier than that. With an error of the ledger the request
// must not be written: others would count it too early.
func (s *Slot) Ready() error {
	b := s.b
	for try := range readyTries { // the ledger may take longer than it did of late
		b.mu.Lock()
		now := time.Now()
		if s.sent || s.ended || s.at == 0 || len(b.limits) == 0 {
			b.mu.Unlock()
			return nil
		}
		behind := b.clocks.ledger(b.mono(now)) - s.at
		enough := behind <= 0 || (try >= readyTries/2 && behind <= b.limits[0].margin().Microseconds()/2)
		if enough && s.stamp <= b.stamped {
			b.mu.Unlock()
			return nil
		}
		if !enough {
			s.restamp(now, b.limits[0].late()+b.lag.Microseconds())
		}
		b.mu.Unlock()
		if err := b.flush(); err != nil {
			return err
		}
	}
	return &ads.Error{
		Class: ads.ClassTransient, Code: "ledger", Bucket: b.label, Message: "the database is too slow for the quota of " + b.label + ": a slot was past when it was written down",
		Hint: "is the database overloaded, or far away for a window that short?",
	}
}

// readyTries bounds how often a slot is written down anew; halfway a part of the margin is made use of.
const readyTries = 16

// refresh keeps the entry of a slot in the window while its request has not been sent.
func (s *Slot) refresh() {
	b := s.b
	b.mu.Lock()
	if s.sent || s.ended || time.Since(s.took) > maxUnsent {
		b.mu.Unlock()
		return
	}
	s.restamp(time.Now(), 0)
	if len(b.limits) > 0 {
		s.keep.Reset(b.limits[0].Window / 2)
	}
	b.mu.Unlock()
	_ = b.flush() // tried again with the next change
}

// Sent says that the request's headers were written just now: from then on the server may count it.
func (s *Slot) Sent() {
	b := s.b
	b.mu.Lock()
	if s.sent || s.ended {
		b.mu.Unlock()
		return
	}
	s.sent = true
	if s.keep != nil {
		s.keep.Stop()
	}
	urgent := s.at > 0 && s.restamp(time.Now(), 0)
	if !urgent {
		b.step()
	}
	b.mu.Unlock()
	if urgent {
		go func() { _ = b.flush() }() // tried again with the next change
	}
}

// finish takes the slot out of those that are out, and out of the local log where back is set. It reports whether this was its first end.
func (s *Slot) finish(back bool) (first bool) {
	b := s.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.ended {
		return false
	}
	s.ended = true
	if s.keep != nil {
		s.keep.Stop()
	}
	b.out--
	switch {
	case s.at == 0: // taken from a bucket without limits
	case back:
		b.local.giveBack(s.mono)
	case !s.sent: // nobody knows when: at the latest now
		s.restamp(time.Now(), 0)
	}
	b.step()
	return true
}

// end finishes a slot and notes it down for the ledger as given back.
func (s *Slot) end() {
	if !s.finish(true) {
		return
	}
	b := s.b
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queue.refund(s.owner)
	if s.at > 0 {
		b.backs = append(b.backs, s.at)
	}
	b.look = time.Time{}
	b.step()
}

// GiveBack says that nothing was sent, or that the platform does not count it: the slot is free again.
func (s *Slot) GiveBack() {
	s.end()
	_ = s.b.flush() // a slot that cannot be given back is a slot unused, no more
}

// Done says that the request was answered, or not, but counts. accepted: the server took it.
func (s *Slot) Done(accepted bool) {
	if !s.finish(false) || !accepted {
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
		if b.ramp *= 2; b.ramp > maxRamp {
			b.ramp = 0
		}
		b.step()
	}
}

// Refused says that the server refused the request for quota. The whole bucket stays away for wait, in every process. told is what the server
// named (0: nothing). counted: the refusal counts against the quota. It gives an *ads.Error of class deferred after maxRounds rounds of refusals in
// a row, and where others seem to use the quota too, what is left of which limit for us.
func (s *Slot) Refused(wait, told time.Duration, counted bool) (effective, declared Limit, err error) {
	if !s.finish(!counted) {
		return Limit{}, Limit{}, nil
	}
	b := s.b
	wait = min(max(wait, 0), MaxBlock)
	b.mu.Lock()
	now := time.Now()
	if until := now.Add(wait); until.After(b.blocked) {
		b.blocked, b.told = until, told
	}
	b.ramp, b.look, b.refused = 1, time.Time{}, now
	limits, at, ago := b.limits, s.at, now.Sub(s.took)
	b.mu.Unlock()
	var round bool
	err = b.update(func(st *state, now int64) bool {
		sent := at
		if sent == 0 { // a bucket without limits has no times in the ledger
			sent = now - ago.Microseconds()
		}
		round = st.refuse(sent, now, wait.Microseconds(), told.Microseconds(), counted, limits)
		effective, declared = Limit{}, Limit{}
		if st.allowed > 0 {
			declared = st.scarce
			effective = Limit{N: st.n(declared), Window: declared.Window}
		}
		return true
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	if round {
		b.rounds++
	}
	b.step()
	if err == nil && b.rounds >= maxRounds {
		until := b.blocked
		if least := now.Add(max(time.Minute, tightest(limits).Window)); until.Before(least) {
			until = least
		}
		b.rounds = 0
		err = &ads.Error{
			Class: ads.ClassDeferred, Code: "refused", Until: until.UTC(), Told: told, Bucket: b.label,
			Message: fmt.Sprintf("the platform refused %s %d times in a row although every wait was kept", b.label, maxRounds),
			Hint:    "another program may use up this quota; run again later: it goes on where it stopped",
		}
	}
	return effective, declared, err
}
