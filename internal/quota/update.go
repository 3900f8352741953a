package quota

import (
	"context"
	"slices"
	"time"
)

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

// update changes the bucket's state in the ledger, together with the moves and slots given back that have gathered. fn is nil where there is nothing
// else to do; it may be called more than once, and says whether it changed anything.
func (b *Bucket) update(fn func(s *state, now int64) (changed bool)) error {
	ctx, cancel := context.WithTimeout(context.Background(), ledgerTimeout)
	defer cancel()
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return b.late()
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
		if ctx.Err() != nil {
			return b.late()
		}
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
