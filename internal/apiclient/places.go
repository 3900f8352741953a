package apiclient

import (
	"container/list"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/quota"
)

// places bound the exchanges that a process has on the wire at once. A place is held for one exchange and for no wait: each exchange has its time-out, so
// each place comes free. They are given to the connections in turn, and in the order of asking within one.
//
// A connection has a share of them: few at first, more with each answer while it uses all of it, half with each request that is never answered. So one that
// hangs soon holds one place, and however many begin at once, they do not take them all before it shows which of them hang.
type places struct {
	n int

	mu    sync.Mutex
	free  int
	queue list.List // of *line, those with waiters, next in turn in front
}

// line is what one party has of the places: a connection, or the token that several share, which must not wait for the requests of one of them. places.mu
// guards it.
type line struct {
	share   int // that it may hold at once; 0: it has not had any
	held    int
	waiters []chan struct{} // in the order of asking
	at      *list.Element   // in the queue
}

// place is one that is held. A nil one is none, and nothing bounds them.
type place struct {
	p    *places
	line *line
	left bool
	came came // in return
}

// came is what an exchange brought.
type came int

const (
	cameNothing came = iota - 1 // until its time-out
	cameUnknown                 // it was ended by us
	cameAnswer
)

const firstShare = 8

func newPlaces(n int) *places { return &places{n: n, free: n} }

// most is what one connection may have: half.
func (p *places) most() int { return max(p.n/2, 1) }

// may says whether l gets a free place. p.mu is held.
func (p *places) may(l *line) bool {
	if l.share == 0 {
		l.share = min(firstShare, p.most())
	}
	return p.free > 0 && l.held < l.share
}

// give hands out what is free. p.mu is held.
func (p *places) give() {
	for e := p.queue.Front(); e != nil && p.free > 0; {
		l := e.Value.(*line)
		if !p.may(l) {
			e = e.Next()
			continue
		}
		p.free--
		l.held++
		l.waiters[0] <- struct{}{}
		p.dequeue(l, 0)
		if l.at != nil {
			p.queue.MoveToBack(l.at)
		}
		e = p.queue.Front() // fewer are free: who was passed over is not better off, but who was served may be next
	}
}

// dequeue takes a waiter out. p.mu is held.
func (p *places) dequeue(l *line, i int) {
	l.waiters = slices.Delete(l.waiters, i, i+1)
	if len(l.waiters) == 0 {
		p.queue.Remove(l.at)
		l.at, l.waiters = nil, nil
	}
}

// alarm is what is done when a wait has lasted for so long.
type alarm struct {
	after time.Duration
	do    func()
}

// take waits for a place. The alarms are in the order of their times.
func (p *places) take(ctx context.Context, l *line, alarms ...alarm) (*place, error) {
	if p == nil {
		return nil, nil
	}
	p.mu.Lock()
	if l.at == nil && p.may(l) {
		p.free--
		l.held++
		p.mu.Unlock()
		return &place{p: p, line: l}, nil
	}
	got := make(chan struct{}, 1)
	l.waiters = append(l.waiters, got)
	if l.at == nil {
		l.at = p.queue.PushBack(l)
	}
	p.mu.Unlock()

	begin := time.Now()
	for {
		var next <-chan time.Time
		if len(alarms) > 0 {
			timer := time.NewTimer(alarms[0].after - time.Since(begin))
			defer timer.Stop()
			next = timer.C
		}
		select {
		case <-got:
			return &place{p: p, line: l}, nil
		case <-next:
			alarms[0].do()
			alarms = alarms[1:]
		case <-ctx.Done():
			p.mu.Lock()
			if i := slices.Index(l.waiters, got); i >= 0 {
				p.dequeue(l, i)
				p.mu.Unlock()
			} else { // it was given at the same moment
				p.mu.Unlock()
				(&place{p: p, line: l}).leave()
			}
			return nil, context.Cause(ctx)
		}
	}
}

func (p *places) why() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.free > 0 {
		return fmt.Sprintf("its share of %d workers is busy", p.n)
	}
	return fmt.Sprintf("all %d workers are busy", p.n)
}

// leave gives the place up. Done twice it does nothing.
func (x *place) leave() {
	if x == nil || x.left {
		return
	}
	x.left = true
	x.p.mu.Lock()
	defer x.p.mu.Unlock()
	switch l := x.line; {
	case x.came == cameNothing:
		l.share = max(l.share/2, 1)
	case x.came == cameAnswer && l.held >= l.share:
		l.share = min(l.share+1, x.p.most())
	}
	x.p.free++
	x.line.held--
	x.p.give()
}

// ends gives the place up after an exchange.
func (x *place) ends(a attempt) {
	switch {
	case x == nil || a.cut:
	case a.broke:
		x.came = cameNothing
	default:
		x.came = cameAnswer
	}
	x.leave()
}

// slotPatience is how long a slot is held for a place. Whoever shares the quota could use it meanwhile.
const slotPatience = 250 * time.Millisecond

// place takes a place for one exchange. crowded is called when that takes a moment.
func (c *Client) place(ctx context.Context, l *logical, crowded func()) (*place, error) {
	p, of := c.c.Shared.places, &c.line
	if l.token {
		of = &c.auth.line
	}
	w := c.waits.quiet()
	defer w.end()
	return p.take(ctx, of, alarm{slotPatience, crowded}, alarm{shortest, func() {
		w.tell(observe.WaitStarted{Reason: observe.WaitWorker, Note: p.why()})
	}})
}

// onTheWire gives what an exchange needs besides a token: a slot, then a place. A slot whose place does not come soon is given back; there is another
// with the place, or where there is none just then, the place is left, and again says that the request begins anew.
func (c *Client) onTheWire(ctx context.Context, l *logical) (slot *quota.Slot, place *place, again bool, err error) {
	if slot, err = c.slot(ctx, l, c.c.MaxWait); err != nil {
		return nil, nil, false, err
	}
	crowded := false
	place, err = c.place(ctx, l, func() {
		if slot != nil && l.barred < maxBarred {
			slot.GiveBack()
			crowded = true
		}
	})
	switch {
	case err != nil && slot != nil && !crowded:
		slot.GiveBack()
		fallthrough
	case err != nil:
		return nil, nil, false, err
	case !crowded:
		return slot, place, false, nil
	}
	l.barred++
	slot, err = c.slot(ctx, l, slotPatience)
	if err == nil {
		return slot, place, false, nil
	}
	place.leave()
	return nil, nil, ads.ClassOf(err) == ads.ClassDeferred, err
}
