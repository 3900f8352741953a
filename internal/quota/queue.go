package quota

import (
	"cmp"
	"math"
	"slices"
	"time"

	"adsync/internal/observe"
	"adsync/internal/platform"
)

// Ask is what somebody who wants to send says.
type Ask struct {
	Owner    string            // who: slots are shared out evenly between owners
	Place    int64             // in the queue, where the request had a slot before (Slot.Place); 0: at the end
	Priority platform.Priority // among the requests of one owner, and before owners that have had as many slots
	MaxWait  time.Duration     // a wait that would be longer is an *ads.Error of class deferred, at once
	OnWait   func(observe.WaitStarted)
}

type waiter struct {
	Ask
	seq   int64
	owner *owner
	got   chan granted
	told  int // the number of the wait that it was told of
}

type granted struct {
	slot *Slot
	err  error
}

// owner is one that has waiters, or had some and is ahead of those that have.
type owner struct {
	name    string
	turns   int64     // slots that it has had, counted from the one that had the fewest when it came
	waiters []*waiter // in the order in which they are served
}

// queue is the order in which waiters are served: the owner that has had the fewest slots, of several the one whose request has the highest priority, then
// who asked first. So nobody waits for longer than two turns of everybody, whatever the others want.
//
// An owner that comes anew, or comes back, is as far as the one that has had the fewest: time spent elsewhere is no credit.
type queue struct {
	n       int
	owners  map[string]*owner
	waiting []*owner
}

// ownersKept bounds the owners that are remembered although they do not wait.
const ownersKept = 1024

func (w *waiter) before(o *waiter) bool {
	return cmp.Or(cmp.Compare(w.Priority, o.Priority), cmp.Compare(w.seq, o.seq)) < 0
}

// floor is the fewest turns that any waiting owner has had.
func (q *queue) floor() int64 {
	least := int64(math.MaxInt64)
	for _, o := range q.waiting {
		least = min(least, o.turns)
	}
	if len(q.waiting) == 0 {
		return 0
	}
	return least
}

func (q *queue) push(w *waiter) {
	if q.owners == nil {
		q.owners = map[string]*owner{}
	}
	o := q.owners[w.Owner]
	if o == nil {
		o = &owner{name: w.Owner}
		q.owners[w.Owner] = o
	}
	if len(o.waiters) == 0 {
		o.turns = max(o.turns, q.floor())
		q.waiting = append(q.waiting, o)
	}
	w.owner = o
	at, _ := slices.BinarySearchFunc(o.waiters, w, func(x, y *waiter) int {
		if x.before(y) {
			return -1
		}
		return 1
	})
	o.waiters = slices.Insert(o.waiters, at, w)
	q.n++
}

// pop takes out the one that is served next. There must be one.
func (q *queue) pop() *waiter {
	var next *owner
	for _, o := range q.waiting {
		if next == nil {
			next = o
			continue
		}
		a, b := o.waiters[0], next.waiters[0]
		if cmp.Or(cmp.Compare(o.turns, next.turns), cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.seq, b.seq)) < 0 {
			next = o
		}
	}
	w := next.waiters[0]
	next.turns++
	q.remove(w)
	return w
}

// remove takes w out, and reports whether it was there.
func (q *queue) remove(w *waiter) bool {
	o := w.owner
	i := slices.Index(o.waiters, w)
	if i < 0 {
		return false
	}
	o.waiters = slices.Delete(o.waiters, i, i+1)
	q.n--
	if len(o.waiters) == 0 {
		i := slices.Index(q.waiting, o)
		q.waiting = slices.Delete(q.waiting, i, i+1)
		q.forget(o)
	}
	return true
}

// forget drops owners that do not wait and are not ahead of those that do. o has just stopped to wait.
func (q *queue) forget(o *owner) {
	if q.n == 0 {
		q.owners, q.waiting = nil, nil // when nobody waits, nobody is behind
		return
	}
	floor := q.floor()
	if o.turns <= floor {
		delete(q.owners, o.name)
	}
	if len(q.owners) <= 2*len(q.waiting)+ownersKept/2 {
		return
	}
	for name, o := range q.owners {
		if len(o.waiters) == 0 && (o.turns <= floor || len(q.owners) > len(q.waiting)+ownersKept) {
			delete(q.owners, name)
		}
	}
}

// refund gives an owner's turn back: its slot was not used.
func (q *queue) refund(name string) {
	if o := q.owners[name]; o != nil && o.turns > q.floor() {
		o.turns--
	}
}

// all calls fn for each waiter, in no order, until it reports false.
func (q *queue) all(fn func(*waiter) bool) {
	for _, o := range q.waiting {
		for _, w := range o.waiters {
			if !fn(w) {
				return
			}
		}
	}
}

// answer takes out all for whom fn gives an error, and tells them.
func (q *queue) answer(fn func(*waiter) error) {
	var out []*waiter
	q.all(func(w *waiter) bool {
		if err := fn(w); err != nil {
			w.got <- granted{err: err}
			out = append(out, w)
		}
		return true
	})
	for _, w := range out {
		q.remove(w)
	}
}
